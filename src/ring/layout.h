// SPDX-License-Identifier: Apache-2.0
//
// How large the three areas of a queue are, how they must be aligned, and where they lie.
#pragma once

#include <cstdint>
#include <utility>

#include "core/descriptor.h"
#include "crypt/queue_secret.h"
#include "ring/features.h"
#include "ring/queue_record.h"
#include "ring/queue_size.h"
#include "spec/virtio_ring.h"
#include "window/address.h"

namespace airlock::ring {

/// The three areas as a driver tells them to a device (queue_desc, queue_driver, queue_device).
struct QueueAreas {
  window::DriverAddress descriptors{};
  window::DriverAddress driver{};
  window::DriverAddress device{};

  friend bool operator==(const QueueAreas&, const QueueAreas&) = default;
};

/// The three areas as a driver knows them.
struct AreaOffsets {
  window::RegionOffset descriptors{};
  window::RegionOffset driver{};
  window::RegionOffset device{};

  friend bool operator==(const AreaOffsets&, const AreaOffsets&) = default;
};

/// What an area needs, in bytes.
struct AreaShape {
  std::uint64_t bytes = 0;
  std::uint64_t alignment = 1;
};

/// Sizes and alignments of a queue's areas, and how a driver puts them into one block.
/// VIRTIO 1.3, 2.7 and 2.8.10.1, tables of sizes and alignments.
class Layout {
 public:
  constexpr explicit Layout(QueueSize size, Format format = Format::kSplit)
      : slots_(size.value()), packed_(format == Format::kPacked) {}

  /// Descriptor table, or packed descriptor ring.
  [[nodiscard]] constexpr AreaShape descriptors() const {
    return {.bytes = slots_ * AIRLOCK_DESC_BYTES, .alignment = 16};
  }
  /// Available ring, with the two bytes of used_event, there or not: the table counts them always.
  /// Packed: the driver's event suppression structure.
  [[nodiscard]] constexpr AreaShape driver() const {
    if (packed_) return {.bytes = sizeof(spec::PvirtqEventSuppress), .alignment = 4};
    return {.bytes = sizeof(spec::VirtqAvailHeader) + slots_ * sizeof(Le16) + sizeof(Le16),
            .alignment = 2};
  }
  /// Used ring, with the two bytes of avail_event. Packed: the device's event suppression
  /// structure.
  [[nodiscard]] constexpr AreaShape device() const {
    if (packed_) return {.bytes = sizeof(spec::PvirtqEventSuppress), .alignment = 4};
    return {.bytes =
                sizeof(spec::VirtqUsedHeader) + slots_ * sizeof(spec::VirtqUsedElem) + sizeof(Le16),
            .alignment = 4};
  }

  /// What a driver allocates to have all three in one block, aligned to kBlockAlignment.
  [[nodiscard]] constexpr std::uint64_t block_bytes() const {
    return device_start() + device().bytes;
  }
  /// A cache line: no area of the block shares one with another, so driver and device don't write
  /// to the same line but where the format makes them.
  static constexpr std::uint64_t kBlockAlignment = 64;
  /// Where the areas lie in a block that starts at `block`. The caller's block is in the region:
  /// no sum wraps.
  [[nodiscard]] constexpr AreaOffsets block_at(window::RegionOffset block) const {
    const std::uint64_t start = std::to_underlying(block);
    return {.descriptors = block,
            .driver = window::RegionOffset{start + driver_start()},
            .device = window::RegionOffset{start + device_start()}};
  }

 private:
  static constexpr std::uint64_t line_up(std::uint64_t bytes) {
    return (bytes + kBlockAlignment - 1) & ~(kBlockAlignment - 1);
  }
  [[nodiscard]] constexpr std::uint64_t driver_start() const {
    return line_up(descriptors().bytes);
  }
  [[nodiscard]] constexpr std::uint64_t device_start() const {
    return driver_start() + line_up(driver().bytes);
  }

  std::uint64_t slots_;
  bool packed_;
};

/// Memory of the region for indirect tables, one for each slot of a driver's queue. Written by the
/// driver only, and never read back (HD-8).
struct IndirectTables {
  window::RegionOffset start{};  // aligned to kAlignment
  std::uint16_t entries = 0;     // descriptors of each table; 0: there are none
  /// With so many slots free a request is put into the ring itself, where the device finds it one
  /// transfer of a cache line sooner. So many there never are: each gets a table that has room.
  std::uint32_t spare = kNever;

  static constexpr std::uint32_t kNever = 0xffff'ffff;
  static constexpr std::uint64_t kAlignment = 64;
  /// Of the tables of all slots.
  static constexpr std::uint64_t bytes(QueueSize size, std::uint16_t entries) {
    return std::uint64_t{size.value()} * entries * AIRLOCK_DESC_BYTES;
  }
};

/// A queue as a driver described it to a device: claims, until DeviceQueue::create checked them.
struct QueueConfig {
  std::uint16_t queue = 0;  // its number, for errors
  QueueSize size;
  QueueAreas areas;
  Features features{};
  // NOLINTNEXTLINE(readability-redundant-member-init): GCC wants it, to be left out where not used
  QueueRecord record{};  // ours: the driver knows nothing of it
  // NOLINTNEXTLINE(readability-redundant-member-init): the same
  crypt::SharedSecret secret{};  // null: the queue is not encrypted
};

/// A queue as its driver lays it out.
struct DriverQueueConfig {
  std::uint16_t queue = 0;  // its number, for errors
  QueueSize size;
  AreaOffsets areas;            // allocated by the caller, of Layout's sizes
  window::Publisher publisher;  // how offsets become the addresses that the device reads
  Features features{};
  IndirectTables tables{};  // allocated by the caller; not used without Features::indirect

  /// Whether a request of `buffers` buffers can go into an indirect table, and whether it has to
  /// with `free_slots` slots left.
  [[nodiscard]] bool fits_table(std::uint32_t buffers) const {
    return features.indirect && buffers >= 2 && buffers <= tables.entries;
  }
  [[nodiscard]] bool needs_table(std::uint32_t buffers, std::uint32_t free_slots) const {
    return fits_table(buffers) && (free_slots < tables.spare || free_slots < buffers);
  }
};

}  // namespace airlock::ring
