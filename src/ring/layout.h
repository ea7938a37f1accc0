// SPDX-License-Identifier: Apache-2.0
//
// How large the three areas of a split queue are, how they must be aligned, and where they lie.
#pragma once

#include <cstdint>
#include <utility>

#include "ring/queue_size.h"
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

/// Sizes of a split queue's areas, in bytes. VIRTIO 1.3, 2.7, table of sizes and alignments.
class SplitLayout {
 public:
  static constexpr std::uint64_t kDescriptorsAlignment = 16;
  static constexpr std::uint64_t kDriverAlignment = 2;
  static constexpr std::uint64_t kDeviceAlignment = 4;

  constexpr explicit SplitLayout(QueueSize size) : slots_(size.value()) {}

  [[nodiscard]] constexpr std::uint64_t descriptors_bytes() const {
    return slots_ * sizeof(spec::VirtqDesc);
  }
  /// With the two bytes of used_event, there or not: the table counts them always.
  [[nodiscard]] constexpr std::uint64_t driver_bytes() const {
    return sizeof(spec::VirtqAvailHeader) + slots_ * sizeof(Le16) + sizeof(Le16);
  }
  /// With the two bytes of avail_event.
  [[nodiscard]] constexpr std::uint64_t device_bytes() const {
    return sizeof(spec::VirtqUsedHeader) + slots_ * sizeof(spec::VirtqUsedElem) + sizeof(Le16);
  }

  /// What a driver allocates to have all three in one block, aligned to kBlockAlignment.
  [[nodiscard]] constexpr std::uint64_t block_bytes() const {
    return device_start() + device_bytes();
  }
  /// A cache line: no area of the block shares one with another, so driver and device don't write
  /// to the same line.
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
    return line_up(descriptors_bytes());
  }
  [[nodiscard]] constexpr std::uint64_t device_start() const {
    return driver_start() + line_up(driver_bytes());
  }

  std::uint64_t slots_;
};

/// A queue as a driver described it to a device: claims, until DeviceQueue::create checked them.
struct QueueConfig {
  std::uint16_t queue = 0;  // its number, for errors
  QueueSize size;
  QueueAreas areas;
};

/// A queue as its driver lays it out.
struct DriverQueueConfig {
  std::uint16_t queue = 0;  // its number, for errors
  QueueSize size;
  AreaOffsets areas;            // allocated by the caller, of SplitLayout's sizes
  window::Publisher publisher;  // how offsets become the addresses that the device reads
};

}  // namespace airlock::ring
