// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>

#include "driver/net_ring.h"
#include "pool/buffer.h"

namespace airlock::driver {

/// The control queue: one command at a time, waited for. One thread at a time.
/// VIRTIO 1.3, 5.1.6.5.
class NetControl {
 public:
  /// `timeout` of a command: then the device counts as broken.
  NetControl(VirtioDevice& device, std::chrono::milliseconds timeout)
      : ring_(device, std::chrono::microseconds(0)), timeout_(timeout) {}
  ~NetControl();
  NetControl(const NetControl&) = delete;
  NetControl& operator=(const NetControl&) = delete;

  /// Sends `command` of `command_class` (VIRTIO_NET_CTRL_*) with its data, not empty, and waits for
  /// the answer, which is read once. Errors: kNotSupportedByDevice (VIRTIO_NET_ERR), kMalformed (an
  /// answer that there is none of), kBadLength, kTooLarge (the data), kTimeout, why the queue is
  /// broken.
  Result<void> run(std::uint8_t command_class, std::uint8_t command,
                   std::span<const std::byte> data);

  [[nodiscard]] const std::optional<Error>& broken() const { return ring_.broken(); }

  // For those who make and revive queues.
  Result<void> attach(std::unique_ptr<Queue> queue);
  void stop(const Error& error) { ring_.stop(error); }
  void detach();

 private:
  Result<std::uint8_t> run_sealed(std::uint8_t command_class, std::uint8_t command,
                                  std::span<const std::byte> data);
  Result<void> exchange(std::span<const ring::Buffer> readable, std::uint32_t answer_bytes);
  static Result<void> judge(std::uint8_t ack);

  NetRing ring_;
  std::chrono::milliseconds timeout_;
  pool::CoherentBuffer memory_;
};

}  // namespace airlock::driver
