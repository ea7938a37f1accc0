// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "driver/deadline.h"
#include "driver/virtio_device.h"

namespace airlock::driver {

/// A queue of equal buffers in the region, for devices whose requests are plain bytes one way: what
/// the driver sends, or what the device fills. Each buffer is the driver's or the device's; the
/// private record of which is ours, and lengths that the device says are checked against it.
/// One thread at a time; goes after its device was reset (stop() first), before it is gone.
class BufferQueue {
 public:
  struct Shape {
    std::uint16_t index = 0;  // of the queue
    std::uint32_t buffers = 16;
    std::uint32_t buffer_bytes = 4096;
  };
  /// A buffer that the device returned: the driver's, until it is given again or released.
  struct Returned {
    std::uint32_t buffer = 0;
    std::uint32_t written = 0;  // bytes that the device wrote, at most what was given
  };

  /// Makes the queue, before VirtioDevice::start(); it may have fewer buffers than asked for.
  /// `device` outlives it. Errors: those of VirtioDevice::create_queue() and the pool.
  static Result<std::unique_ptr<BufferQueue>> create(VirtioDevice& device, const Shape& shape);
  BufferQueue(const BufferQueue&) = delete;
  BufferQueue& operator=(const BufferQueue&) = delete;

  [[nodiscard]] std::uint32_t buffer_bytes() const { return buffer_bytes_; }
  /// Buffers that are the driver's, and not among those returned and not released.
  [[nodiscard]] std::size_t free_buffers() const { return free_.size(); }
  [[nodiscard]] std::size_t buffers() const { return count_; }

  /// Gives the device a free buffer with a copy of `source`, up to buffer_bytes(); not empty.
  /// Errors: kQueueFull (none is free), kBadLength, kQueueBroken and what broke it.
  Result<void> send(std::span<const std::byte> source);
  /// Gives the device a free buffer to write `bytes` into. Errors: as send().
  Result<void> ask(std::uint32_t bytes);
  /// Gives it all that are free, each for all that it holds. Errors: as send().
  Result<void> ask_all();

  /// The next buffer that came back, if one did. Errors: the device lied (it is broken then), or is
  /// broken already.
  Result<std::optional<Returned>> poll();
  /// Copies what the device wrote, from byte `offset` on: at most returned.written - offset.
  std::size_t copy_out(const Returned& returned, std::span<std::byte> target,
                       std::size_t offset = 0) const;
  /// The buffer may be given again.
  void release(const Returned& returned) { free_.push_back(returned.buffer); }

  /// Shows the device what was given and notifies it where it wants that. Errors: the transport's.
  Result<void> kick();
  /// After a poll() that found nothing: waits until something may have come back, the device says
  /// that it needs a reset, or the deadline has passed (false). `wake` is one more descriptor that
  /// ends the wait; -1: none. Errors: the device is broken.
  Result<bool> wait(const Deadline& deadline, int wake = -1);

  /// Readable when something may have come back; -1 where that has to be looked for.
  [[nodiscard]] int interrupt_fd() const { return queue_->interrupt_fd(); }
  /// Forgets an interrupt, before a poll().
  void take_interrupt() { (void)device_.transport().take_interrupt(queue_->vector()); }

  /// Takes nothing more: the ring is abandoned. What the device has it may still write to, until it
  /// was reset.
  void stop();

 private:
  BufferQueue(VirtioDevice& device, std::unique_ptr<Queue> queue, pool::CoherentBuffer memory,
              const Shape& shape);
  Result<void> give(std::uint32_t buffer, std::uint32_t bytes, bool for_device_to_write);
  [[nodiscard]] std::uint64_t place(std::uint32_t buffer) const {
    return std::uint64_t{buffer} * buffer_bytes_;
  }

  VirtioDevice& device_;
  std::unique_ptr<Queue> queue_;
  pool::CoherentBuffer memory_;
  std::uint32_t count_;
  std::uint32_t buffer_bytes_;
  std::vector<std::uint32_t> free_;
  bool unannounced_ = false;
};

}  // namespace airlock::driver
