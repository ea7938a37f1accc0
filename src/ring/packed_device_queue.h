// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ring/chain.h"
#include "ring/chain_walk.h"
#include "ring/layout.h"
#include "ring/packed_areas.h"
#include "window/window.h"

namespace airlock::ring {

/// The device's half of a packed virtqueue: takes chains that the driver made available, returns
/// them as used. Everything that the driver wrote is read once and checked before it is believed;
/// the first lie breaks this queue, for good, and nothing else. Positions, wrap counters and buffer
/// ids in flight are private. VIRTIO 1.3, 2.8.
///
/// With VIRTIO_F_IN_ORDER, or a record of how far the queue got, chains may still be pushed in any
/// order: those whose predecessors are not done are held back.
///
/// One thread at a time. The window and its memory must outlive the queue.
///
/// Typical round:
///     while (TRY(queue.pop(chain))) { ...; TRY(queue.push_used(chain.head(), written)); }
///     queue.publish();
///     if (queue.driver_wants_interrupt()) interrupt();
class PackedDeviceQueue {
 public:
  /// Checks that the areas are aligned and that each lies in the window, whole, and starts with an
  /// empty ring (slot 0, both wrap counters 1). With a live record it goes on where that one stood
  /// instead: what was made available from there is to be done, again maybe. Errors, all with the
  /// queue and the address: kBadQueueSize, kNotAligned, kAddressOutside; kWrongState (the record is
  /// of another kind of queue). VIRTIO 1.3, 2.8.1, 2.8.10.1; GEN-DR2, DMB-D7, DMB-D8.
  static Result<PackedDeviceQueue> create(const QueueConfig& config, const window::Window& window);

  /// Takes the next available chain into `target`, which then is in flight until push_used();
  /// nullopt if there is none now. `target` is valid only when a head is returned: a private name,
  /// not the driver's buffer id. Does not allocate while `target` has room for the chain. Errors,
  /// which break the queue: kAlreadyInFlight (the buffer id is with us), kChainTooLong (it takes
  /// slots that the driver did not get back yet, or more than there are), kBadFlags, kBadOrder,
  /// kBadLength, kChainTooBig, kAddressOutside. kQueueBroken ever after.
  /// VIRTIO 1.3, 2.8.1, 2.8.6, 2.8.12, 2.8.15, 2.8.17; DMB-D7. Acquire on the head's flags.
  [[nodiscard]] Result<std::optional<Head>> pop(Chain& target);

  /// Returns a chain, of whose writable part the device wrote the first `written_bytes`, at the
  /// next publish(). A head that is not in flight, or more bytes than the chain had, is our own bug
  /// (CHECK). With VIRTIO_F_IN_ORDER, or a record, the publish() that shows it is the first one
  /// after all chains taken before it were pushed too; until then its id and slots are not the
  /// driver's to use again. Errors: kQueueBroken: the head is accounted for, and the ring is left
  /// alone. VIRTIO 1.3, 2.8.4, 2.8.6, 2.8.8.
  Result<void> push_used(Head head, std::uint32_t written_bytes);

  /// Shows the driver everything that was pushed: all or nothing, since it looks at one descriptor
  /// after the other, and the first one's flags are written last. With a record one by one: each is
  /// a store, so that none is ever half there. Release on those. VIRTIO 1.3, 2.8.2.
  void publish();

  /// After publish(): whether the driver is to be interrupted for what was published since this was
  /// last asked: by its event suppression structure, of which any value is legal (HD-21). With
  /// VIRTIO_F_EVENT_IDX ask at least once in a lap of the ring. VIRTIO 1.3, 2.8.10, 2.8.14.
  [[nodiscard]] bool driver_wants_interrupt();

  /// Tells the driver not to notify (true), while the device polls anyway, or to notify again
  /// (false). A hint: notifications may come all the same. After `false`, pop() until it is empty
  /// once more before sleeping, or a wakeup is lost:
  ///   the driver publishes flags and reads our event, still off: it does not notify;
  ///   we turn the event on, having seen the ring empty before, and sleep: nobody wakes us.
  ///   With a full barrier between each side's store and load, at least one of us sees the other's.
  /// With VIRTIO_F_EVENT_IDX the event is the slot of the very next chain. It does not follow chain
  /// by chain: `false` sets it, and so does each pop() that finds the ring empty before it says so,
  /// with the same barrier. VIRTIO 1.3, 2.8.10.
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
      kFree,
      kInFlight,  // taken, not pushed
      kHeldBack,  // pushed, but not a predecessor of it: not in the ring yet
    };
    std::uint32_t writable_bytes = 0;
    std::uint32_t written_bytes = 0;  // once pushed
    std::uint16_t id = 0;             // the driver's buffer id
    std::uint16_t slots = 0;          // descriptors of the ring that the chain takes
    std::uint16_t next = 0;           // the record taken after this one; the next free one
    State state = State::kFree;
  };
  struct Views {
    PackedDeviceRing ring;
    PackedEventReader driver_event;
    PackedEventWriter device_event;
  };
  /// The used descriptor whose flags show the driver all that was pushed.
  struct First {
    PackedPosition position;
    bool wrote = false;
  };

  static Result<Views> open_views(const QueueConfig& config, const window::Window& window);
  static Result<PackedPosition> find_start(const QueueConfig& config, const PackedDeviceRing& ring);
  PackedDeviceQueue(const QueueConfig& config, const window::Window& window, const Views& views,
                    PackedPosition start);
  std::unexpected<Error> break_with(Error error);
  void ask_for_notification();
  [[nodiscard]] bool look();
  [[nodiscard]] bool find_available();
  [[nodiscard]] Result<std::uint32_t> walk(Chain& target);
  [[nodiscard]] Head keep(std::uint32_t slots, std::uint32_t writable_bytes);
  void put_used(std::uint16_t index);
  void put_finished();
  [[nodiscard]] bool oldest_is_done() const;
  void publish_finished();
  void count_published();
  void release(std::uint16_t index);

  QueueConfig config_;
  const window::Window* window_;
  Views views_;
  ChainWalk walk_;
  std::vector<Record> records_;          // by head
  std::vector<bool> ids_;                // by buffer id: the driver may not use it now
  bool ordered_;                         // chains are returned as they were taken
  std::uint16_t first_free_ = 0;         // of the records
  std::uint16_t oldest_ = 0;             // if so: of the records taken and not in the ring
  std::uint16_t newest_ = 0;             // if so: the last of them
  std::uint32_t taken_ = 0;              // how many those are: in flight or held back
  std::uint32_t in_flight_ = 0;          // of those, not pushed
  std::uint32_t free_slots_;             // that the driver may make available
  std::uint16_t flags_ = 0;              // of the next descriptor, as last read
  std::uint16_t id_ = 0;                 // of the chain that was last read
  PackedPosition next_avail_;            // the next descriptor that we take
  PackedPosition next_used_;             // where the next used descriptor goes
  PackedPosition published_used_;        // the same as the driver sees it
  std::optional<First> first_;           // of what was pushed and not published
  std::uint32_t pushed_slots_ = 0;       // of what was pushed and not published
  std::uint32_t unsignalled_slots_ = 0;  // published since we last asked about the interrupt
  std::optional<PackedPosition> event_;  // the one that the driver sees, with VIRTIO_F_EVENT_IDX
  bool suppressed_ = false;              // notifications, by our own wish
  std::optional<Error> broken_;
};

}  // namespace airlock::ring
