// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>

#include "driver/buffer_queue.h"
#include "driver/virtio_device.h"

namespace airlock::driver {

/// A virtio source of random numbers. VIRTIO 1.3, 5.4. One thread at a time.
///
/// The device is not trusted: it gets no memory of ours, and can't make a read end with fewer bytes
/// than were asked for, or old ones. Whether what it says is random nobody can check: mix it with
/// another source where it matters.
class Rng {
 public:
  struct Options {
    std::uint32_t bytes_at_once = 4096;         // asked for in one request
    std::chrono::milliseconds timeout{30'000};  // of a read: then the device is broken
    VirtioDevice::Options device{};             // device_type and features are filled in here
  };

  /// Errors: those of VirtioDevice and BufferQueue.
  static Result<std::unique_ptr<Rng>> open(std::unique_ptr<PciTransport> transport,
                                           const Options& options);
  ~Rng();
  Rng(const Rng&) = delete;
  Rng& operator=(const Rng&) = delete;

  [[nodiscard]] VirtioDevice& device() { return *device_; }

  /// Fills all of `target`, however many answers that takes. Errors, all of which break the device:
  /// kTimeout; kMalformed (an answer of no bytes: 5.4.6.2); the ring's (it wrote more than was
  /// asked for: HD-3). `target` may have been filled in part then.
  Result<void> read(std::span<std::byte> target);

 private:
  Rng(std::unique_ptr<VirtioDevice> device, const Options& options)
      : device_(std::move(device)), options_(options) {}
  Result<std::size_t> read_some(std::span<std::byte> target, const Deadline& deadline);

  std::unique_ptr<VirtioDevice> device_;
  Options options_;
  std::unique_ptr<BufferQueue> queue_;
};

}  // namespace airlock::driver
