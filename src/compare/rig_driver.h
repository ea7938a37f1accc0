// SPDX-License-Identifier: Apache-2.0
//
// The seam between what is done through every model and the device that it is done with.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>

#include "base/result.h"

namespace airlock::compare {

/// What a driver did.
struct DriverCounts {
  std::uint64_t notifications = 0;
  std::uint64_t io_errors = 0;     // requests that failed, for want of room in a pool as well
  std::uint64_t mapped_ns = 0;     // from map to unmap, of all requests
  std::uint64_t sealed_bytes = 0;  // of data, sealed and opened: a copy each
};

/// A virtio driver, as small as it can be, over the Access of a model: the same for every model. A
/// request is one buffer that the device is to read (`write`: of a disk, or a frame to be sent) or
/// to fill. One thread.
///
/// A request that finds no room in the model's pool fails, as in a system whose pool is full.
class RigDriver {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::uint16_t kQueueSize = 128;
  static constexpr std::uint16_t kDepthMost = kQueueSize / 4;

  struct Request {
    bool write = false;
    /// One that the device is to refuse, so that it keeps none of its bytes. A buffer for a frame
    /// that is received can't be: it is filled.
    bool refused = false;
    std::uint64_t block = 0;      // any number: which place of the buffer's size, where there are
    std::span<std::byte> buffer;  // the model's to map; until the completion
    std::uint64_t cookie = 0;
  };
  struct Done {
    std::uint64_t cookie = 0;
    std::optional<Error> error;  // the device's answer: not done, or only in part
  };

  RigDriver() = default;
  virtual ~RigDriver() = default;
  RigDriver(const RigDriver&) = delete;
  RigDriver& operator=(const RigDriver&) = delete;

  /// Takes a request: kick() shows it to the device. Errors, and then there is no completion: the
  /// model's map(); kQueueFull; kQueueBroken.
  virtual Result<void> submit(const Request& request) = 0;
  /// Shows the device what was submitted, and notifies it if it wants that.
  virtual void kick() = 0;
  /// The next completion; nothing if there is none now. Errors: the ring's, for good; kWrongState
  /// (the device did what it was to refuse).
  virtual Result<std::optional<Done>> poll() = 0;
  /// Waits until poll() has something: looks for a while, then sleeps. Errors: kTimeout; the
  /// ring's.
  virtual Result<void> wait(std::chrono::milliseconds timeout) = 0;

  [[nodiscard]] virtual std::uint32_t in_flight() const = 0;
  [[nodiscard]] virtual DriverCounts counts() const = 0;
};

}  // namespace airlock::compare
