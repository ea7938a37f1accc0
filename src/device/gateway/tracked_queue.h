// SPDX-License-Identifier: Apache-2.0
//
// A queue of a backend that would forget, if it died, what it had taken and not returned: here it
// is remembered.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "device/gateway/chain_watcher.h"
#include "ring/split_areas.h"
#include "ring/split_device_queue.h"
#include "shm/shared_bytes.h"

namespace airlock::device {

/// Stands between a driver's split ring and a backend's. The descriptor table is the driver's own;
/// the other two areas that the backend sees are ours, in memory that the driver does not see, and
/// the heads of chains go from one ring to the other. So it is known at any moment which chains the
/// backend has: when another takes its place, they are all made available again, in their order,
/// and each is returned to the driver once.
///
/// The driver's side is a SplitDeviceQueue, which checks what the driver does; what the backend
/// returns is checked here. One thread at a time.
class TrackedQueue {
 public:
  /// The backend's two areas, of ring::Layout's sizes, one behind the other.
  [[nodiscard]] static std::uint64_t area_bytes(ring::QueueSize size);
  [[nodiscard]] static std::uint64_t device_area_offset(ring::QueueSize size);

  /// For no backend yet. `watcher`, if there is one, outlives it.
  /// Errors: those of SplitDeviceQueue::create().
  static Result<TrackedQueue> create(const ring::QueueConfig& config, const window::Window& window,
                                     ChainWatcher* watcher = nullptr);

  /// Passes on what the driver made available. True if there was something: the backend is to be
  /// kicked. Errors: the driver's: its queue is broken.
  Result<bool> forward();

  /// Whether the watcher answered chains that backward() is to pass on.
  [[nodiscard]] bool answered() const { return answered_; }

  struct Returned {
    bool any = false;
    bool interrupt = false;  // the driver wants to hear of it
  };
  /// Passes on what the backend returned. Errors: the backend's: kBadIndexJump, kBadIndex,
  /// kNotOutstanding: it is to be sent away; what it returned before that is passed on.
  Result<Returned> backward();

  /// For a backend that knows nothing of the queue: empty rings, then all that is in flight. The
  /// areas have area_bytes(), and are not those of an earlier backend, which may still write there.
  void restart(const shm::SharedBytes& areas);
  /// The backend is gone: what the driver makes available is remembered for the next one.
  void detach();

  [[nodiscard]] std::size_t in_flight() const { return in_flight_; }
  /// What the backend has returned, as the index of its ring: all that it took, when that is equal.
  [[nodiscard]] std::uint16_t used_index() const {
    return attached_ ? used_.acquire_index().value() : next_used_.value();
  }

 private:
  struct Record {
    std::uint64_t sequence = 0;
    std::uint32_t writable_bytes = 0;
    bool in_flight = false;
    bool seen = false;  // by a backend
  };

  TrackedQueue(ring::SplitDeviceQueue driver, ring::QueueSize size, ChainWatcher* watcher);
  void make_available(std::uint16_t head);
  void make_available_again(std::uint16_t head);
  void answer(std::uint16_t head, std::uint32_t written);
  Result<void> take_back();

  ring::SplitDeviceQueue driver_;
  ring::QueueSize size_;
  ChainWatcher* watcher_;
  bool answered_ = false;
  bool attached_ = false;  // to a backend's areas
  ring::AvailWriter avail_;
  ring::UsedReader used_;
  ring::RingIndex next_avail_;
  ring::RingIndex next_used_;
  std::uint64_t sequence_ = 0;  // of the chain taken next
  std::size_t in_flight_ = 0;
  std::vector<Record> records_;  // by head
  ring::Chain chain_;            // the one at hand: its storage is used again
};

}  // namespace airlock::device
