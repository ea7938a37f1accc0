// SPDX-License-Identifier: Apache-2.0
#include "testing/fake_driver.h"

namespace airlock::testing {

namespace {

ring::AreaOffsets allocate_areas(TestRegion& region, ring::QueueSize size) {
  const ring::Layout layout(size);
  return layout.block_at(region.allocate(layout.block_bytes(), ring::Layout::kBlockAlignment));
}

shm::SharedBytes area(const TestRegion& region, window::RegionOffset offset, std::uint64_t length) {
  return MUST(region.bytes().slice(std::to_underlying(offset), length));
}

}  // namespace

FakeDriver::FakeDriver(TestRegion& region, std::uint32_t slots, std::uint16_t queue)
    : FakeDriver(region, queue, MUST(ring::QueueSize::from(slots)),
                 allocate_areas(region, MUST(ring::QueueSize::from(slots)))) {}

FakeDriver::FakeDriver(TestRegion& region, std::uint16_t queue, ring::QueueSize size,
                       const ring::AreaOffsets& areas)
    : region_(&region),
      config_{.queue = queue,
              .size = size,
              .areas = {.descriptors = region.address(areas.descriptors),
                        .driver = region.address(areas.driver),
                        .device = region.address(areas.device)}},
      descriptors_(area(region, areas.descriptors, ring::Layout(size).descriptors().bytes)),
      avail_(area(region, areas.driver, ring::Layout(size).driver().bytes)),
      used_(area(region, areas.device, ring::Layout(size).device().bytes)) {}

void FakeDriver::put_descriptor(std::uint32_t index, const airlock_descriptor& descriptor) {
  descriptors_.put(index & size().mask(), descriptor);
}

void FakeDriver::put_available(std::uint16_t entry, std::uint16_t head) {
  avail_.put(ring::RingIndex(entry).slot(size()), head);
}

void FakeDriver::set_avail_index(std::uint16_t index) {
  avail_index_ = index;
  avail_.publish_index(ring::RingIndex(index));
}

void FakeDriver::set_avail_flags(std::uint16_t flags) {
  avail_.set_flags(flags);
}

void FakeDriver::set_used_event(std::uint16_t index) {
  avail_.set_used_event(ring::RingIndex(index));
}

void FakeDriver::put_table_entry(window::RegionOffset table, std::uint32_t index,
                                 const airlock_descriptor& descriptor) {
  const std::uint64_t length = (std::uint64_t{index} + 1) * AIRLOCK_DESC_BYTES;
  ring::DescriptorWriter(area(*region_, table, length)).put(index, descriptor);
}

void FakeDriver::make_available(std::uint16_t head) {
  put_available(avail_index_, head);
  set_avail_index(static_cast<std::uint16_t>(avail_index_ + 1));
}

std::uint16_t FakeDriver::take_descriptors(std::size_t count) {
  const auto first = static_cast<std::uint16_t>(next_descriptor_ & size().mask());
  next_descriptor_ += static_cast<std::uint32_t>(count);
  return first;
}

ring::UsedElement FakeDriver::used_element(std::uint16_t entry) const {
  return used_.snapshot(ring::RingIndex(entry).slot(size()));
}

std::optional<ring::UsedElement> FakeDriver::take_used() {
  if (next_used_ == used_index()) return std::nullopt;
  return used_element(next_used_++);
}

window::RegionOffset FakeDriver::put_bytes(std::span<const std::byte> bytes) {
  const window::RegionOffset offset = region_->allocate(bytes.size());
  region_->bytes().copy_in(std::to_underlying(offset), bytes);
  return offset;
}

std::vector<std::byte> FakeDriver::get_bytes(window::RegionOffset offset,
                                             std::uint64_t length) const {
  std::vector<std::byte> bytes(length);
  region_->bytes().copy_out(std::to_underlying(offset), bytes);
  return bytes;
}

}  // namespace airlock::testing
