// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "driver/net_info.h"
#include "driver/net_packet.h"
#include "driver/net_receiving.h"
#include "driver/net_ring.h"
#include "pool/buffer.h"

namespace airlock::driver {

/// A receive queue that copies nothing: each frame is handed out in the buffer that the device put
/// it into, and another buffer takes that one's place, once the pool has room for one. So whoever
/// keeps frames uses up the pool, and at last the device has no buffer; nothing else is lost. One
/// thread at a time. VIRTIO 1.3, 5.1.6.3, 5.1.6.4.
///
/// Each frame lies in one buffer: not for a device that was let use several. Otherwise as
/// NetReceiver.
class NetInPlaceReceiver {
 public:
  using Limits = NetReceiveLimits;

  NetInPlaceReceiver(VirtioDevice& device, const Limits& limits);
  ~NetInPlaceReceiver();
  NetInPlaceReceiver(const NetInPlaceReceiver&) = delete;
  NetInPlaceReceiver& operator=(const NetInPlaceReceiver&) = delete;

  /// The next frame; nullopt if there is none now. Never waits. Errors: why the queue is broken.
  Result<std::optional<NetReceivedInPlace>> poll();
  /// Waits until poll() has something. Errors: kTimeout (wait again), why the queue is broken.
  Result<void> wait(std::chrono::milliseconds timeout);

  /// As NetReceiver has them.
  [[nodiscard]] int interrupt_fd() const { return ring_.interrupt_fd(); }
  bool arm();
  void disarm() { ring_.disarm(); }
  [[nodiscard]] const NetCounters& counters() const { return ring_.counters(); }
  [[nodiscard]] const std::optional<Error>& broken() const { return ring_.broken(); }

  // For those who make and revive queues.
  Result<void> attach(std::unique_ptr<Queue> queue);
  /// Gives the device its first buffers: it runs now.
  void start();
  void stop(const Error& error);
  /// The device must be reset, or gone.
  void detach();

 private:
  bool look();
  Result<bool> take(std::uint32_t index, std::uint32_t written);
  void refill();
  void give(std::uint32_t index);

  NetRing ring_;
  Limits limits_;
  std::uint32_t buffer_bytes_;
  std::vector<pool::InPlaceBuffer> buffers_;  // the device's
  std::vector<std::uint32_t> missing_;        // places in it without one
  std::optional<NetReceivedInPlace> ready_;
};

}  // namespace airlock::driver
