// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/descriptor.h"
#include "ring/layout.h"
#include "ring/split_areas.h"
#include "testing/test_region.h"

namespace airlock::testing {

/// A driver's side of a split queue without a single check, for tests of a device: it writes
/// whatever it is told to, lies too, straight into a TestRegion, in that region's address mode.
/// Honest chains are made with ChainBuilder. Not thread-safe; the region must outlive it.
class FakeDriver {
 public:
  /// Allocates the three areas in `region`. `slots` must be a queue size (CHECK).
  FakeDriver(TestRegion& region, std::uint32_t slots, std::uint16_t queue = 0);

  /// What a device's queue is created from.
  [[nodiscard]] const ring::QueueConfig& config() const { return config_; }
  [[nodiscard]] ring::QueueConfig& config() { return config_; }
  [[nodiscard]] TestRegion& region() const { return *region_; }
  [[nodiscard]] ring::QueueSize size() const { return config_.size; }
  [[nodiscard]] std::uint64_t address(window::RegionOffset offset) const {
    return std::to_underlying(region_->address(offset));
  }

  // Raw writes. Indices are taken modulo the queue size, so that a lie stays inside the area.
  void put_descriptor(std::uint32_t index, const airlock_descriptor& descriptor);
  /// Writes an entry of the available ring; `entry` counts as avail.idx does.
  void put_available(std::uint16_t entry, std::uint16_t head);
  void set_avail_index(std::uint16_t index);
  void set_avail_flags(std::uint16_t flags);
  /// With VIRTIO_F_EVENT_IDX: the used entry to be interrupted for.
  void set_used_event(std::uint16_t index);
  /// Writes an entry of an indirect table at `table`; `index` is not checked.
  void put_table_entry(window::RegionOffset table, std::uint32_t index,
                       const airlock_descriptor& descriptor);

  /// The honest way: the next entry, and then the index.
  void make_available(std::uint16_t head);
  [[nodiscard]] std::uint16_t avail_index() const { return avail_index_; }

  /// `count` descriptors in a row that follow those handed out last, modulo the queue size. Nothing
  /// keeps them from being in flight still: whoever has that many in flight knows it.
  [[nodiscard]] std::uint16_t take_descriptors(std::size_t count);

  // What the device wrote.
  [[nodiscard]] std::uint16_t used_flags() const { return used_.flags(); }
  [[nodiscard]] std::uint16_t avail_event() const { return used_.avail_event().value(); }
  [[nodiscard]] std::uint16_t used_index() const { return used_.acquire_index().value(); }
  /// An entry of the used ring; `entry` counts as used.idx does.
  [[nodiscard]] ring::UsedElement used_element(std::uint16_t entry) const;
  /// The next used element that was not taken yet, unchecked; nullopt if there is none.
  [[nodiscard]] std::optional<ring::UsedElement> take_used();

  // Buffers in the region.
  /// A new buffer with these bytes.
  [[nodiscard]] window::RegionOffset put_bytes(std::span<const std::byte> bytes);
  [[nodiscard]] std::vector<std::byte> get_bytes(window::RegionOffset offset,
                                                 std::uint64_t length) const;

 private:
  FakeDriver(TestRegion& region, std::uint16_t queue, ring::QueueSize size,
             const ring::AreaOffsets& areas);

  TestRegion* region_;
  ring::QueueConfig config_;
  ring::DescriptorWriter descriptors_;
  ring::AvailWriter avail_;
  ring::UsedReader used_;
  std::uint16_t avail_index_ = 0;
  std::uint16_t next_used_ = 0;
  std::uint32_t next_descriptor_ = 0;
};

}  // namespace airlock::testing
