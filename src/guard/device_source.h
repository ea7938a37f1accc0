// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "base/fd.h"

namespace airlock::guard {

/// Where connections to the device come from: a socket that somebody serves, or a process that is
/// started for each. Never blocks.
class DeviceSource {
 public:
  DeviceSource() = default;
  virtual ~DeviceSource() = default;
  DeviceSource(const DeviceSource&) = delete;
  DeviceSource& operator=(const DeviceSource&) = delete;

  /// Whether a device that failed can be had again, with the memory that it is given.
  [[nodiscard]] virtual bool restarts() const = 0;
  /// Asks for a connection; what was there before is ended. `region` (borrowed) is the memory that
  /// the device is to go on with; -1: it begins anew. Errors: kSystem, kPeerClosed.
  virtual Result<void> ask(int region) = 0;
  /// Ends the device, if there is one.
  virtual Result<void> end() = 0;
  /// Readable when an answer to ask() has come.
  [[nodiscard]] virtual int fd() const = 0;
  /// The answer: the connection; nothing if it has not come after all. Errors: kSystem, with why
  /// the device can't be had; kPeerClosed, if nothing can any more.
  virtual Result<std::optional<Fd>> take() = 0;
};

}  // namespace airlock::guard
