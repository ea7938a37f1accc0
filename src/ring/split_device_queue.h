// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ring/chain.h"
#include "ring/chain_walk.h"
#include "ring/layout.h"
#include "ring/split_areas.h"
#include "window/window.h"

namespace airlock::ring {

/// The device's half of a split virtqueue: takes chains that the driver made available, returns
/// them as used. Everything that the driver wrote is read once and checked before it is believed;
/// the first lie breaks this queue, for good, and nothing else. VIRTIO 1.3, 2.7.
///
/// With VIRTIO_F_IN_ORDER, or a record of how far the queue got, chains may still be pushed in any
/// order: those whose predecessors are not done are held back. With VIRTIO_F_EVENT_IDX the two
/// flags stay 0 and events decide.
///
/// One thread at a time. The window and its memory must outlive the queue.
///
/// Typical round:
///     while (TRY(queue.pop(chain))) { ...; TRY(queue.push_used(chain.head(), written)); }
///     queue.publish();
///     if (queue.driver_wants_interrupt()) interrupt();
class SplitDeviceQueue {
 public:
  /// Checks that the areas are aligned and that each lies in the window, whole, and starts with
  /// empty rings (both indices 0). With a live record it goes on behind used.idx instead: what was
  /// made available there is to be done, again maybe. Errors, all with the queue and the address:
  /// kNotAligned, kAddressOutside; kWrongState (the record is of another kind of queue).
  /// VIRTIO 1.3, 2.7; GEN-DR2, DMB-D7, DMB-D8.
  static Result<SplitDeviceQueue> create(const QueueConfig& config, const window::Window& window);

  /// Takes the next available chain into `target`, which then is in flight until push_used();
  /// nullopt if there is none now. `target` is valid only when a head is returned. Does not
  /// allocate while `target` has room for the chain. Errors, which break the queue: kBadIndexJump
  /// (avail.idx ran ahead of what the ring holds), kBadIndex, kAlreadyInFlight (the head is with
  /// us), kBadFlags, kBadOrder, kBadLength, kChainTooLong, kChainTooBig, kAddressOutside.
  /// kQueueBroken ever after. VIRTIO 1.3, 2.7.4.2, 2.7.5.1, 2.7.6; DMB-D7. Acquire on avail.idx.
  [[nodiscard]] Result<std::optional<Head>> pop(Chain& target);

  /// Returns a chain, of whose writable part the device wrote the first `written_bytes`, at the
  /// next publish(). A head that is not in flight, or more bytes than the chain had, is our own bug
  /// (CHECK). With VIRTIO_F_IN_ORDER, or a record, the publish() that shows it is the first one
  /// after all chains taken before it were pushed too; until then its head is not the driver's to
  /// use again.
  /// Errors: kQueueBroken: the head is accounted for, and the ring is left alone.
  /// VIRTIO 1.3, 2.7.8.2, 2.7.9.
  Result<void> push_used(Head head, std::uint32_t written_bytes);

  /// Shows the driver everything that was pushed. Release on used.idx. VIRTIO 1.3, 2.7.8.2.
  void publish();

  /// After publish(): whether the driver is to be interrupted for what was published since this was
  /// last asked: by the driver's flag, or by used_event, of which any value is legal (HD-21). Ask
  /// at least once in 2^16 chains. VIRTIO 1.3, 2.7.7.2.
  [[nodiscard]] bool driver_wants_interrupt();

  /// Tells the driver not to notify (true), while the device polls anyway, or to notify again
  /// (false). A hint: notifications may come all the same. After `false`, pop() until it is empty
  /// once more before sleeping, or a wakeup is lost:
  ///   the driver publishes avail.idx and reads our flag, still set: it does not notify;
  ///   we clear the flag, having seen the ring empty before, and sleep: nobody wakes us.
  ///   With a full barrier between each side's store and load, at least one of us sees the other's.
  /// With VIRTIO_F_EVENT_IDX avail_event is our flag: next_avail asks for a notification of the
  /// very next chain, what lies behind next_avail for none. It does not follow chain by chain:
  /// `false` sets it, and so does each pop() that finds the ring empty before it says so, with the
  /// same barrier. VIRTIO 1.3, 2.7.10.
  void suppress_notifications(bool suppressed);

  /// Finds the areas again after the window's memory changed (guest memory that a VMM took back,
  /// and maybe gave again). The queue's state stays. Errors: as create(), and kWrongState with
  /// chains in flight: the queue must not be used then, until a later rebind() succeeds;
  /// kQueueBroken.
  Result<void> rebind();

  /// Chains taken and not pushed. (None is held back when there are none of these.)
  [[nodiscard]] std::uint32_t in_flight() const { return in_flight_; }
  /// Why the queue is broken, if it is.
  [[nodiscard]] const std::optional<Error>& broken() const { return broken_; }
  [[nodiscard]] std::uint16_t queue() const { return config_.queue; }
  [[nodiscard]] QueueSize size() const { return config_.size; }

 private:
  /// What we know of each head; nothing of it is ever read back from the ring.
  struct Record {
    enum class State : std::uint8_t {
      kDriver,    // it is the driver's
      kInFlight,  // taken, not pushed
      kHeldBack,  // pushed, but not a predecessor of it: not in the used ring yet
    };
    std::uint32_t writable_bytes = 0;
    std::uint32_t written_bytes = 0;  // of one that is held back
    State state = State::kDriver;
  };
  struct Views {
    DescriptorReader descriptors;
    AvailReader avail;
    UsedWriter used;
  };

  static Result<Views> open_views(const QueueConfig& config, const window::Window& window);
  SplitDeviceQueue(const QueueConfig& config, const window::Window& window, const Views& views,
                   RingIndex start);
  std::unexpected<Error> break_with(Error error);
  void ask_for_notification();
  [[nodiscard]] Result<bool> find_available();
  [[nodiscard]] Result<std::uint16_t> next_head() const;
  [[nodiscard]] Result<void> walk(std::uint16_t head, Chain& target);
  void put_used(const UsedElement& element);
  void put_finished();

  QueueConfig config_;
  const window::Window* window_;
  Views views_;
  ChainWalk walk_;
  std::vector<Record> records_;       // by head
  bool ordered_;                      // chains are returned as they were taken
  std::vector<std::uint16_t> order_;  // if so: heads as taken, from next_used_ to next_avail_
  RingIndex next_avail_;              // the next entry that we take
  RingIndex seen_avail_;              // avail.idx as last read and checked
  RingIndex next_used_;               // where the next used element goes
  RingIndex published_used_;          // used.idx as the driver sees it
  RingIndex signalled_used_;          // used.idx when we last asked about the interrupt
  RingIndex avail_event_;             // as the driver sees it
  bool suppressed_ = false;           // notifications, by our own wish
  std::uint32_t in_flight_ = 0;
  std::optional<Error> broken_;
};

}  // namespace airlock::ring
