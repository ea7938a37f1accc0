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
#include "spec/virtio_net.h"

namespace airlock::driver {

/// A receive queue: gives the device buffers of the pool, and has each frame copied out before it
/// looks at it. One thread at a time; queues are independent. VIRTIO 1.3, 5.1.6.3, 5.1.6.4.
///
/// Lengths and num_buffers are bounded by what the device was given; the first that is not breaks
/// the queue (HD-3). A header that asks for what was not negotiated, or for a checksum outside its
/// frame, costs the frame alone.
class NetReceiver {
 public:
  using Limits = NetReceiveLimits;

  NetReceiver(VirtioDevice& device, const Limits& limits);
  ~NetReceiver();
  NetReceiver(const NetReceiver&) = delete;
  NetReceiver& operator=(const NetReceiver&) = delete;

  /// The next frame; nullopt if there is none now. Never waits. Errors: why the queue is broken.
  Result<std::optional<NetReceived>> poll();
  /// Waits until poll() has something. Errors: kTimeout (wait again), why the queue is broken.
  Result<void> wait(std::chrono::milliseconds timeout);

  /// For an event loop: readable when there may be a frame, after arm() returned false; so are the
  /// transport's for vector 0 and VirtioDevice::broken_fd(), when there won't be any. -1: polled.
  [[nodiscard]] int interrupt_fd() const { return ring_.interrupt_fd(); }
  /// Asks for interrupts; true if something is there already, so that poll() is next.
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
  // A frame that is being put together.
  struct Assembly {
    std::uint32_t buffers_left = 0;  // 0: the next buffer starts a frame
    std::size_t bytes = 0;           // of the frame, in frame_
    spec::VirtioNetHdr header;
  };

  bool assemble();
  Result<bool> take_buffer(const ring::Completion& completion);
  Result<bool> take_sealed(const ring::Completion& completion);
  Result<void> begin_frame(const spec::VirtioNetHdr& header);
  bool accept();
  void give_back(std::uint32_t index);

  NetRing ring_;
  Limits limits_;
  std::uint32_t buffer_bytes_;
  pool::CoherentBuffer buffers_;
  std::uint32_t buffer_count_ = 0;
  std::vector<crypt::SealedChain> sealed_;  // by buffer, where the queue is encrypted
  std::vector<std::byte> opened_;           // what one of them had
  std::vector<std::byte> frame_;
  Assembly assembly_;
  NetReceived received_;
  bool ready_ = false;         // received_ is to be handed out
  std::uint32_t unshown_ = 0;  // buffers given back, and not yet published
};

}  // namespace airlock::driver
