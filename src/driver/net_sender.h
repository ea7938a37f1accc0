// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/fifo.h"
#include "driver/net_info.h"
#include "driver/net_packet.h"
#include "driver/net_ring.h"
#include "pool/pool.h"

namespace airlock::driver {

/// A transmit queue. Frames go in with submit() and come out of poll(), each exactly once, whatever
/// the device does. One thread at a time; queues are independent. VIRTIO 1.3, 5.1.6.2.
class NetSender {
 public:
  struct Limits {
    NetInfo info;
    std::chrono::microseconds spin{};  // before a wait goes to sleep
    std::uint32_t pool_home = 0;       // the area of the pool that it uses first: its number
  };

  NetSender(VirtioDevice& device, const Limits& limits)
      : ring_(device, limits.spin), limits_(limits) {}
  ~NetSender();
  NetSender(const NetSender&) = delete;
  NetSender& operator=(const NetSender&) = delete;

  /// Takes a frame; kick() shows it to the device. Returns its id. Errors, and then there is no
  /// completion: kQueueFull, kPoolFull (both: again after a completion), kBadLength (shorter than
  /// an Ethernet header), kTooLarge (than the device's MTU allows), kOutOfRange (the checksum is
  /// not in the frame), kNotSupportedByDevice (it completes no checksums), kBadHandle (memory of
  /// the region that is no live InPlaceBuffer), kUnsupported (memory of the region, and the queue
  /// is encrypted), kQueueBroken.
  Result<std::uint64_t> submit(const NetFrame& frame);
  /// Shows the device what was submitted, with one notification at most. poll() and wait() do too.
  void kick();

  /// The next completion; nullopt if there is none now. Never waits.
  std::optional<NetSent> poll();
  /// Waits until poll() has something. Errors: kTimeout (wait again), kWrongState (nothing inside).
  Result<void> wait(std::chrono::milliseconds timeout);

  /// As NetReceiver has them.
  [[nodiscard]] int interrupt_fd() const { return ring_.interrupt_fd(); }
  bool arm();
  void disarm() { ring_.disarm(); }

  /// Frames submitted and not yet handed out by poll().
  [[nodiscard]] std::size_t inside() const { return in_flight_ + done_.size(); }
  [[nodiscard]] const NetCounters& counters() const { return ring_.counters(); }
  [[nodiscard]] const std::optional<Error>& broken() const { return ring_.broken(); }

  // For those who make and revive queues.
  Result<void> attach(std::unique_ptr<Queue> queue);
  /// Completes everything inside with `error`, and starts no more.
  void stop(const Error& error);
  /// The device must be reset, or gone.
  void detach();

 private:
  // A frame in the ring; its header is in the region, by the same number, or all of it where the
  // queue is encrypted.
  struct Slot {
    enum class Data : std::uint8_t { kNone, kMapped, kPinned };
    Data data = Data::kNone;
    bool open = false;  // submitted, and not completed
    std::uint64_t id = 0;
    std::uint64_t cookie = 0;
    std::uint64_t bytes = 0;
    pool::Mapped mapped{};
    pool::Pinned pinned{};
  };

  Result<void> validate(const NetFrame& frame) const;
  Result<window::RegionOffset> place(const NetFrame& frame, Slot& slot);
  Result<void> put_in_ring(std::uint32_t index, const NetFrame& frame, window::RegionOffset data);
  Result<void> put_sealed(std::uint32_t index, const NetFrame& frame);
  Result<void> submit(std::span<const ring::Buffer> buffers, std::uint32_t index);
  void reap();
  void finish(std::uint32_t index, const std::optional<Error>& error);
  void release(Slot& slot);

  NetRing ring_;
  Limits limits_;
  pool::CoherentBuffer headers_;
  std::uint64_t header_stride_ = 0;  // from one to the next
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
  Fifo<NetSent> done_;
  std::size_t in_flight_ = 0;
  std::uint64_t next_id_ = 1;
};

}  // namespace airlock::driver
