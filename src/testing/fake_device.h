// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/descriptor.h"
#include "ring/layout.h"
#include "ring/split_areas.h"
#include "shm/shared_bytes.h"

namespace airlock::testing {

/// A device's side of a split queue without a single check, for tests of a driver: it reads what
/// the driver wrote and writes whatever it is told to, into any of the three areas. Not
/// thread-safe.
class FakeDevice {
 public:
  /// `region` is the whole region, with the areas of a driver's queue in it.
  FakeDevice(const shm::SharedBytes& region, ring::QueueSize size, const ring::AreaOffsets& areas);

  // What the driver wrote. Indices are taken modulo the queue size.
  [[nodiscard]] airlock_descriptor descriptor(std::uint32_t index) const;
  /// An entry of the available ring; `entry` counts as avail.idx does.
  [[nodiscard]] std::uint16_t available(std::uint16_t entry) const;
  [[nodiscard]] std::uint16_t avail_index() const;
  [[nodiscard]] std::uint16_t avail_flags() const;
  [[nodiscard]] std::uint16_t used_event() const;

  // Raw writes.
  /// Writes an entry of the used ring; `entry` counts as used.idx does.
  void put_used(std::uint16_t entry, const ring::UsedElement& element);
  void set_used_index(std::uint16_t index);
  void set_used_flags(std::uint16_t flags);
  /// With VIRTIO_F_EVENT_IDX: the available entry to be notified of.
  void set_avail_event(std::uint16_t index);
  /// Writes where a device has no business: the descriptor table.
  void scribble_descriptor(std::uint32_t index, const airlock_descriptor& descriptor);

  /// The honest way: the next element, and then the index.
  void use(std::uint32_t id, std::uint32_t length);
  /// With VIRTIO_F_IN_ORDER: the next element, and then the index, `count` further: the element
  /// stands for `count` chains, of which `id` is the last.
  void use_batch(std::uint32_t id, std::uint32_t length, std::uint16_t count);
  [[nodiscard]] std::uint16_t used_index() const { return used_index_; }

 private:
  ring::QueueSize size_;
  ring::DescriptorReader descriptors_;
  ring::DescriptorWriter scribble_;
  ring::AvailReader avail_;
  ring::UsedWriter used_;
  std::uint16_t used_index_ = 0;
};

}  // namespace airlock::testing
