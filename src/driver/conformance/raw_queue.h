// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ring/layout.h"
#include "ring/split_areas.h"
#include "shm/shared_bytes.h"

namespace airlock::driver::conformance {

/// Bytes of the data area that one descriptor describes.
struct Part {
  std::uint64_t offset = 0;  // in the data area
  std::uint32_t length = 0;
  bool writable = false;  // by the device
};

/// A driver's side of a split queue without a single check, in a fixed place of the region: it
/// writes whatever it is told to, and reads what the device wrote. Not thread-safe.
class RawQueue {
 public:
  static constexpr std::uint64_t kPage = 4096;
  static constexpr std::uint64_t kRingStart = kPage;  // never at offset 0 (DMB-DR3)
  static constexpr std::uint64_t kDataStart = 2 * kPage;
  static constexpr std::uint64_t kDataBytes = 4 * kPage;
  static constexpr std::uint64_t kRegionBytesMin = 16 * kPage;
  static constexpr std::uint64_t kOtherStart = kRegionBytesMin / 2;
  static constexpr std::uint32_t kSlotsMax = 64;  // the rings fit their page

  /// `region` is the whole region, of at least kRegionBytesMin bytes; `size` at most kSlotsMax.
  /// `start`, 0 or kOtherStart, keeps two queues apart.
  RawQueue(const shm::SharedBytes& region, ring::QueueSize size, const window::Publisher& publisher,
           std::uint64_t start);

  /// Empty rings, and a pattern in the data area.
  void clear();
  [[nodiscard]] ring::QueueSize size() const { return size_; }
  [[nodiscard]] ring::QueueAreas areas() const;
  /// The data area, and the address of a byte of it as a device is told.
  [[nodiscard]] const shm::SharedBytes& data() const { return data_; }
  [[nodiscard]] std::uint64_t data_address(std::uint64_t offset) const;

  void put_descriptor(std::uint32_t index, const airlock_descriptor& descriptor);
  /// Chains `parts` in the descriptors `head`, head + 1, ... (modulo the size).
  void put_chain(std::uint16_t head, std::span<const Part> parts);
  /// Writes the next entry of the available ring and moves the index.
  void make_available(std::uint16_t head);
  void set_avail_index(std::uint16_t index);
  void set_avail_flags(std::uint16_t flags);
  void set_used_event(std::uint16_t index);

  [[nodiscard]] std::uint16_t avail_index() const { return avail_index_; }
  [[nodiscard]] std::uint16_t used_index() const;
  [[nodiscard]] std::uint16_t used_flags() const;
  /// An element of the used ring; `entry` counts as the index does.
  [[nodiscard]] ring::UsedElement used(std::uint16_t entry) const;

  /// Takes note of the data area, the descriptors and the available ring; whether they changed.
  void remember();
  [[nodiscard]] bool data_changed() const;
  [[nodiscard]] bool rings_changed() const;

 private:
  [[nodiscard]] std::vector<std::byte> copy_of_rings() const;
  [[nodiscard]] std::vector<std::byte> copy_of_data() const;

  ring::QueueSize size_;
  window::Publisher publisher_;
  std::uint64_t data_start_;
  ring::AreaOffsets places_;
  shm::SharedBytes block_;  // all three areas
  shm::SharedBytes driver_owned_;
  shm::SharedBytes data_;
  ring::DescriptorWriter descriptors_;
  ring::AvailWriter avail_;
  ring::UsedReader used_;
  std::uint16_t avail_index_ = 0;
  std::vector<std::byte> seen_rings_;
  std::vector<std::byte> seen_data_;
};

}  // namespace airlock::driver::conformance
