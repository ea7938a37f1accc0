// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "compare/access.h"
#include "compare/device_view.h"

namespace airlock::compare {

/// Faults that tests put in, so that a check which finds nothing is known to be able to.
struct Controls {
  bool leak_private = false;      // the device is given the private memory's file as well
  bool without_platform = false;  // the device does not offer ACCESS_PLATFORM
  bool keep_shared = false;       // the trusted part takes back nothing that it shared
};

/// What the guest's process has to begin with.
struct GuestSide {
  std::uint64_t private_bytes = 0;
  const Fd* trusted = nullptr;  // the socket to the trusted part, where the model has one
};

/// Lines of code, without comments and empty ones.
struct TrustedLines {
  unsigned own = 0;        // of the trusted part itself
  unsigned libraries = 0;  // of ours that it uses on what others wrote
};

/// One access model: what each of the three processes does for it. A model is one of these in a
/// file of its own, and a line in all_models().
struct Model {
  std::string_view name;
  std::string_view what;   // what it does, in a line
  std::string_view trust;  // what keeps the device in, in a line
  TrustedLines trusted_lines{};
  crypt::Algorithm encryption = crypt::Algorithm::kNone;  // of the queue's buffers

  /// The guest's: makes its end ready. Errors: the model's.
  Result<std::unique_ptr<Access>> (*connect)(const GuestSide& guest) = nullptr;
  /// The device's: its window onto what it was given.
  Result<std::unique_ptr<DeviceView>> (*view)(std::span<const Grant> grants) = nullptr;
  /// The trusted part's, until the guest hangs up; null: there is no such process.
  Result<void> (*serve)(const Fd& guest, const Controls& controls) = nullptr;
};

/// Every model that there is, in the order in which they are shown.
[[nodiscard]] std::span<const Model* const> all_models();
/// Null if there is none of that name.
[[nodiscard]] const Model* find_model(std::string_view name);

}  // namespace airlock::compare
