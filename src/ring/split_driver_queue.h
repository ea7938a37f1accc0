// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "ring/driver_types.h"
#include "ring/layout.h"
#include "ring/split_areas.h"

namespace airlock::ring {

/// The driver's half of a split virtqueue, against a device that may lie. The descriptor table and
/// the available ring are output only; what the driver needs to know is in private memory (HD-6,
/// HD-7, HD-29), and each used element is read once and checked against it (HD-1 to HD-4). The
/// first lie breaks the queue until it is made anew (HD-23). VIRTIO 1.3, 2.7.
///
/// With VIRTIO_F_INDIRECT_DESC a request that fits a table takes one slot: its table is the slot's,
/// written and never read back (HD-8). With VIRTIO_F_EVENT_IDX the two flags stay 0 and events
/// decide. With VIRTIO_F_IN_ORDER descriptors are used in ring order, and requests end in the order
/// in which they were submitted.
///
/// One thread at a time. The region's mapping must outlive the queue.
///
/// Typical round:
///     TRY(queue.submit(readable, writable, cookie));
///     if (queue.publish()) notify();
///     while (auto done = TRY(queue.poll())) finish(*done);
class SplitDriverQueue {
 public:
  /// Zeroes the three areas and starts with empty rings. `region` is the whole region, as mapped by
  /// the driver; the areas in it are the caller's, and stay its own to free.
  /// Errors, with the queue: kOutOfRange, kNotAligned, both with the offset; kOutOfRange also for
  /// an area at offset 0 in offset mode (DMB-DR3). The same of the indirect tables.
  static Result<SplitDriverQueue> create(const DriverQueueConfig& config,
                                         const shm::SharedBytes& region);

  /// What to tell the device about the areas.
  [[nodiscard]] QueueAreas published_areas() const;

  /// Puts a request into the ring: buffers for the device to read, then buffers for it to write. It
  /// sees it after publish(). `cookie` comes back with the completion, from private memory.
  /// On an error nothing changed. Errors: kQueueFull (retry after a completion), kChainTooLong
  /// (more buffers than the queue has slots: never fits), kBadLength (no buffer, or an empty one),
  /// kChainTooBig (2^32 bytes or more), kOutOfRange (a buffer outside the region, or at offset 0 in
  /// offset mode), kQueueBroken (final).
  /// VIRTIO 1.3, 2.7.4.2, 2.7.5.2, 2.7.5.3.1, 2.7.13; GEN-DR2, DMB-DR3, DMB-DR4, HD-8, HD-9.
  [[nodiscard]] Result<Token> submit(std::span<const Buffer> readable,
                                     std::span<const Buffer> writable, std::uint64_t cookie);

  /// Shows the device everything that was submitted. True if it wants to be notified of it, by its
  /// flag or by avail_event, of which any value is legal; false also when there was nothing new.
  /// Release on avail.idx, then a full barrier before the device's wish is read.
  /// VIRTIO 1.3, 2.7.10.1, 2.7.13.3.1, 2.7.13.4.1; HD-21, HD-22.
  [[nodiscard]] bool publish();

  /// Takes the next completion; nullopt if there is none now, which is never a fault: spurious
  /// wakeups are harmless (HD-20).
  /// Errors, which break the queue: kBadIndexJump (used.idx moved by more than is outstanding,
  /// HD-4), kBadIndex (HD-1), kNotOutstanding (a duplicate, or never published; HD-2), kBadLength
  /// (HD-3). kQueueBroken ever after. VIRTIO 1.3, 2.7.14. Acquire on used.idx.
  ///
  /// With VIRTIO_F_IN_ORDER an element stands for its request and all that were submitted before it
  /// and are outstanding: they are completed first, one a call, with no length reported. It must
  /// not stand for more than used.idx moved by: kNotOutstanding otherwise. VIRTIO 1.3, 2.7.9;
  /// HD-32.
  [[nodiscard]] Result<std::optional<Completion>> poll() { return poll_one(*this); }
  /// The same, filled in where it is wanted; false, and nothing is, if there is none. The faster
  /// one: a copy of what was just written by parts waits until all that was written before, to
  /// memory that the device reads too, has got there.
  [[nodiscard]] Result<bool> poll(Completion& target);

  /// Asks the device for interrupts (true) or not (false). A hint: they may come all the same.
  /// After `true`, poll() until it is empty once more before sleeping, or a wakeup is lost:
  ///   the device publishes used.idx and reads our flag, still set: it does not interrupt;
  ///   we clear the flag, having seen the ring empty before, and sleep: nobody wakes us.
  ///   With a full barrier between each side's store and load, at least one of us sees the other's.
  /// With VIRTIO_F_EVENT_IDX used_event is our flag: next_used asks for an interrupt at the very
  /// next element, what lies behind next_used for none. It does not follow element by element:
  /// `true` sets it, and so does each poll() that finds the ring empty before it says so, with the
  /// same barrier. VIRTIO 1.3, 2.7.7.1.
  void want_interrupts(bool wanted);

  /// Ends the use of the ring, for a reset or because the device is gone: as if broken. The device
  /// may still have the buffers until its reset is complete.
  void abandon();

  /// One request that the device never returned, and that no poll() will: each is handed out
  /// exactly once, unpublished ones too; nullopt when there are no more. The queue must be broken
  /// or abandoned (CHECK), and the device reset before the buffers are used for anything else.
  /// HD-23.
  [[nodiscard]] std::optional<Outstanding> take_outstanding();

  /// Slots that a request of `buffers` buffers takes at least: one with an indirect table, which it
  /// gets where IndirectTables::spare says so, else one each.
  [[nodiscard]] std::uint32_t slots_for(std::uint32_t buffers) const {
    return config_.fits_table(buffers) ? 1 : buffers;
  }
  /// Slots that submit() may use now.
  [[nodiscard]] std::uint32_t free_slots() const { return free_slots_; }
  /// What a notification says where VIRTIO_F_NOTIFICATION_DATA was negotiated: the queue's number
  /// in bits 0 to 15, the next available index above. VIRTIO 1.3, 2.9, 4.1.5.2.
  [[nodiscard]] std::uint32_t notification_data() const {
    return config_.queue | std::uint32_t{next_avail_.value()} << 16;
  }
  /// Requests submitted and neither completed nor taken.
  [[nodiscard]] std::uint32_t outstanding() const { return outstanding_; }
  /// Why the queue is broken, if it is: the first violation, or kQueueBroken after abandon().
  [[nodiscard]] const std::optional<Error>& broken() const { return broken_; }
  [[nodiscard]] std::uint16_t queue() const { return config_.queue; }
  [[nodiscard]] QueueSize size() const { return config_.size; }

 private:
  /// What we know of each head. Private truth: the ring's copy is never read.
  struct Record {
    std::uint64_t cookie = 0;
    std::uint64_t sequence = 0;  // how many were submitted before
    std::uint32_t writable_bytes = 0;
    std::uint16_t slots = 0;  // descriptors of the chain in the ring's own table
    std::uint16_t tail = 0;   // the last of them
    bool outstanding = false;
  };
  /// A used element that passed: the request that it names, and how many it returns: more than one
  /// only with VIRTIO_F_IN_ORDER.
  struct Batch {
    std::uint16_t last = 0;
    std::uint16_t left = 0;
    std::uint32_t written_bytes = 0;  // into the last one
  };
  struct Views {
    DescriptorWriter descriptors;
    DescriptorWriter tables;  // one after another, by slot
    AvailWriter avail;
    UsedReader used;
  };

  SplitDriverQueue(const DriverQueueConfig& config, std::uint64_t region_bytes, const Views& views);
  std::unexpected<Error> break_with(Error error);
  std::uint16_t put_chain(std::span<const Buffer> readable, std::span<const Buffer> writable);
  std::uint16_t put_table(std::span<const Buffer> readable, std::span<const Buffer> writable);
  void ask_for_interrupt();
  [[nodiscard]] Result<bool> find_used();
  [[nodiscard]] Result<Batch> take_element() const;
  void release(std::uint16_t head);

  DriverQueueConfig config_;
  std::uint64_t region_bytes_;
  Views views_;
  std::vector<Record> records_;       // by head
  std::vector<std::uint16_t> next_;   // by descriptor: the next of its chain, or the next free one
  std::vector<std::uint16_t> order_;  // in order: heads as submitted, by slot of the available ring
  std::uint16_t first_free_ = 0;
  std::uint32_t free_slots_;
  std::uint32_t outstanding_ = 0;
  std::uint32_t next_taken_ = 0;  // where take_outstanding() goes on
  RingIndex next_avail_;          // where the next head goes
  std::uint64_t submitted_ = 0;   // requests ever put into the ring
  std::uint64_t published_ = 0;   // of those, how many the device may see
  RingIndex next_used_;           // the next element that we take
  RingIndex seen_used_;           // used.idx as last read and checked
  Batch batch_;                   // what the last element returned, and poll() did not yet
  RingIndex used_event_;          // as the device sees it
  bool wanted_ = true;            // interrupts, by our own wish
  std::optional<Error> broken_;
};

}  // namespace airlock::ring
