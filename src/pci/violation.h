// SPDX-License-Identifier: Apache-2.0
//
// What a log line says when a driver breaks a rule: which queue, which address, where the device
// may go, and what is most likely behind it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "pci/negotiation.h"
#include "window/window.h"

namespace airlock::pci {

/// What a violation is judged against.
struct ViolationContext {
  const Negotiation& negotiation;
  const Negotiated& negotiated;
  const window::Window& window;
};

/// One line without the device's name. `what` says which part of the queue; it may be empty.
std::string describe_violation(const Error& error, std::string_view what,
                               const ViolationContext& context);

/// One line on why FEATURES_OK was withheld from a driver that accepted `accepted`.
std::string describe_refusal(const Error& error, std::uint64_t accepted, std::uint64_t offered,
                             const Negotiation& negotiation);

}  // namespace airlock::pci
