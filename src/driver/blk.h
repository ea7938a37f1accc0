// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "driver/blk_queue.h"
#include "driver/virtio_device.h"

namespace airlock::driver {

/// A virtio disk, driven so that a hostile one can neither see nor change what was not meant for
/// it, nor crash or hang its driver. VIRTIO 1.3, 5.2.
///
///     auto disk = TRY(Blk::open(TRY(VfioUserTransport::connect({.path = path})), {}));
///     TRY(disk->read(0, bytes));                            // copied through the pool
///     auto buffer = TRY(disk->allocate(1 << 20));
///     TRY(disk->write(0, buffer.span()));                   // no copy at all
///
/// The blocking calls use queue 0. For more threads, or to have many requests in flight, use the
/// queues, each from one thread at a time.
class Blk {
 public:
  struct Options {
    std::uint16_t queues = 1;                               // at most; the device may have fewer
    std::uint32_t queue_size = 256;                         // at most; a power of two from 4 on
    std::uint32_t requests_max = 4096;                      // inside one queue, waiting ones too
    std::uint64_t part_bytes_max = std::uint64_t{1} << 20;  // larger requests are split
    std::chrono::microseconds spin{50};         // in a wait, before it sleeps; see SpinWindow
    unsigned spin_cpu_percent = 100;            // of a core, for a queue's waits that see nothing
    std::chrono::milliseconds timeout{30'000};  // of a blocking call: then the device is broken
    VirtioDevice::Options device{};             // device_type and features are filled in here
  };

  /// Errors: those of VirtioDevice and parse_blk_config(); kBadQueueSize (too few slots for one
  /// request, which takes three);
  /// kMalformed (its limits allow not one block in a request).
  static Result<std::unique_ptr<Blk>> open(std::unique_ptr<PciTransport> transport,
                                           const Options& options);
  /// Completes nothing any more; in-place buffers must be gone.
  ~Blk();
  Blk(const Blk&) = delete;
  Blk& operator=(const Blk&) = delete;

  [[nodiscard]] const BlkInfo& info() const { return info_; }
  [[nodiscard]] VirtioDevice& device() { return *device_; }
  [[nodiscard]] std::size_t queue_count() const { return queues_.size(); }
  [[nodiscard]] BlkQueue& queue(std::size_t index) { return *queues_.at(index); }

  /// Memory for requests that copy nothing, page aligned. Errors: those of Pool::allocate();
  /// kUnsupported (queues are encrypted, and what is there is not: ENC-12).
  Result<pool::InPlaceBuffer> allocate(std::uint64_t bytes) {
    if (device_->encrypts()) return fail(Errc::kUnsupported);
    return device_->pool().allocate(bytes, pool::kPageBytes);
  }

  // One request, waited for: see BlkQueue::run(). Offsets and lengths in bytes.
  Result<void> read(std::uint64_t offset, std::span<std::byte> target);
  Result<void> write(std::uint64_t offset, std::span<const std::byte> source);
  /// What completed before is on stable storage after.
  Result<void> flush();
  Result<void> discard(std::uint64_t offset, std::uint64_t length);
  Result<void> write_zeroes(std::uint64_t offset, std::uint64_t length, bool unmap = false);
  /// The device's name for itself, as it gave it up to the first zero byte: any bytes at all.
  Result<std::string> get_id();

  /// Resets the device and starts it again. What was inside the queues completes with
  /// kQueueBroken, or the error that broke them. In-place buffers stay. No queue may be in use.
  /// Errors: those of VirtioDevice::quiesce() and revive(); kMalformed if the disk is another one
  /// than before. After an error only reset() helps.
  Result<void> reset();

  /// Resets queue `index` alone: what was inside completes with kQueueBroken, and it starts anew.
  /// It must not be in use; other queues may. Errors: those of VirtioDevice::reset_queue() and
  /// create_queue(); the queue is then out of use until a reset() succeeds.
  Result<void> reset_queue(std::uint16_t index);

  /// Of all queues, from any thread. Approximate while they are in use.
  [[nodiscard]] BlkStats stats() const;

 private:
  Blk(std::unique_ptr<VirtioDevice> device, const Options& options)
      : device_(std::move(device)), options_(options) {}
  Result<BlkInfo> read_info();
  void make_queues();
  Result<void> attach_queues();
  Result<void> attach_queue(std::uint16_t index);
  [[nodiscard]] std::uint64_t part_bytes_max() const;

  std::unique_ptr<VirtioDevice> device_;
  Options options_;
  BlkInfo info_;
  std::vector<std::unique_ptr<BlkQueue>> queues_;
};

}  // namespace airlock::driver
