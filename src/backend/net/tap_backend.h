// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "backend/net_backend.h"
#include "backend/open.h"

namespace airlock::backend {

struct TapOptions {
  std::string name;            // of the interface; a persistent one, or it is made
  std::uint16_t channels = 1;  // at most
};

/// A network of this host: a tap interface, with a queue for each channel, which the kernel does
/// the offloads for. Its state (up, address, bridge) is the administrator's. Before a sandbox.
Opened<std::unique_ptr<NetBackend>> open_tap(const TapOptions& options);

}  // namespace airlock::backend
