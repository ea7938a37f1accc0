// SPDX-License-Identifier: Apache-2.0
#include "testing/fake_packed_driver.h"

#include "core/packed.h"
#include "ring/packed_areas.h"

namespace airlock::testing {

namespace {

constexpr std::uint64_t kFlagsAt = offsetof(spec::PvirtqDesc, flags);

ring::AreaOffsets allocate_packed_areas(TestRegion& region, ring::QueueSize size) {
  const ring::Layout layout(size, ring::Format::kPacked);
  return layout.block_at(region.allocate(layout.block_bytes(), ring::Layout::kBlockAlignment));
}

ring::QueueSize packed_size(std::uint32_t slots) {
  return MUST(ring::QueueSize::from(slots, ring::Format::kPacked));
}

shm::SharedBytes packed_area(const TestRegion& region, window::RegionOffset offset,
                             std::uint64_t length) {
  return MUST(region.bytes().slice(std::to_underlying(offset), length));
}

}  // namespace

FakePackedDriver::FakePackedDriver(TestRegion& region, const Options& options)
    : FakePackedDriver(region, options, packed_size(options.slots),
                       allocate_packed_areas(region, packed_size(options.slots))) {}

FakePackedDriver::FakePackedDriver(TestRegion& region, const Options& options, ring::QueueSize size,
                                   const ring::AreaOffsets& areas)
    : region_(&region),
      config_{.queue = options.queue,
              .size = size,
              .areas = {.descriptors = region.address(areas.descriptors),
                        .driver = region.address(areas.driver),
                        .device = region.address(areas.device)},
              .features = options.features},
      ring_(packed_area(region, areas.descriptors,
                        ring::Layout(size, ring::Format::kPacked).descriptors().bytes)),
      driver_event_(packed_area(region, areas.driver, sizeof(spec::PvirtqEventSuppress))),
      device_event_(packed_area(region, areas.device, sizeof(spec::PvirtqEventSuppress))) {
  config_.features.format = ring::Format::kPacked;
}

void FakePackedDriver::put_descriptor(std::uint32_t slot, const airlock_descriptor& descriptor) {
  const std::uint64_t at = std::uint64_t{slot % size().value()} * AIRLOCK_DESC_BYTES;
  ring_.store_relaxed<Le64>(at, Le64(descriptor.address));
  ring_.store_release<Le64>(at + 8,
                            Le64(ring::encode_descriptor_rest(descriptor, ring::Format::kPacked)));
}

void FakePackedDriver::set_flags(std::uint32_t slot, std::uint16_t flags) {
  const std::uint64_t at = std::uint64_t{slot % size().value()} * AIRLOCK_DESC_BYTES;
  ring_.store_release<Le16>(at + kFlagsAt, Le16(flags));
}

void FakePackedDriver::set_driver_event(const ring::PackedEvent& event) {
  ring::PackedEventWriter(driver_event_).put(event);
}

airlock_descriptor FakePackedDriver::readable(std::string_view text) {
  const window::RegionOffset offset = region_->allocate(text.size());
  region_->bytes().copy_in(std::to_underlying(offset),
                           std::as_bytes(std::span(text.data(), text.size())));
  return {.address = address(offset),
          .length = static_cast<std::uint32_t>(text.size()),
          .flags = 0,
          .next = 0};
}

airlock_descriptor FakePackedDriver::writable(std::uint32_t length) {
  return {.address = address(region_->allocate(length)),
          .length = length,
          .flags = spec::VIRTQ_DESC_F_WRITE,
          .next = 0};
}

airlock_descriptor FakePackedDriver::table(std::span<const airlock_descriptor> entries) {
  const std::uint64_t bytes = entries.size() * AIRLOCK_DESC_BYTES;
  const window::RegionOffset offset = region_->allocate(bytes);
  const ring::PackedTableWriter writer(packed_area(*region_, offset, bytes));
  for (std::uint32_t i = 0; i < entries.size(); ++i)
    writer.put(i, entries[i]);
  return {.address = address(offset),
          .length = static_cast<std::uint32_t>(bytes),
          .flags = spec::VIRTQ_DESC_F_INDIRECT,
          .next = 0};
}

void FakePackedDriver::make_available(std::span<const airlock_descriptor> chain, std::uint16_t id) {
  hide_available(chain, id);
  show();
}

void FakePackedDriver::hide_available(std::span<const airlock_descriptor> chain, std::uint16_t id) {
  for (std::size_t i = 0; i < chain.size(); ++i) {
    const bool last = i + 1 == chain.size();
    const std::uint16_t lap = airlock_packed_available_flags(next_avail_.wrap());
    airlock_descriptor descriptor = chain[i];
    descriptor.flags =
        static_cast<std::uint16_t>(descriptor.flags | lap | (last ? 0U : spec::VIRTQ_DESC_F_NEXT));
    descriptor.next = last ? id : static_cast<std::uint16_t>(~id);
    if (i == 0) {
      hidden_slot_ = next_avail_.slot();
      hidden_flags_ = descriptor.flags;
      descriptor.flags = airlock_packed_used_flags(!next_avail_.wrap());
    }
    put_descriptor(next_avail_.slot(), descriptor);
    next_avail_.advance(1, size());
  }
}

void FakePackedDriver::show() {
  set_flags(hidden_slot_, hidden_flags_);
}

airlock_descriptor FakePackedDriver::descriptor(std::uint32_t slot) const {
  return ring::PackedDeviceRing(ring_).snapshot(slot % size().value());
}

ring::PackedEvent FakePackedDriver::device_event() const {
  return ring::PackedEventReader(device_event_).snapshot();
}

std::optional<FakePackedDriver::Used> FakePackedDriver::take_used(std::uint32_t slots) {
  const ring::PackedDriverRing reader(ring_);
  const std::uint16_t flags = reader.acquire_flags(next_used_.slot());
  if (!airlock_packed_is_used(flags, next_used_.wrap())) return std::nullopt;
  const ring::PackedUsed used = reader.used(next_used_.slot());
  next_used_.advance(slots, size());
  return Used{
      .id = used.id, .length = used.length, .write = (flags & spec::VIRTQ_DESC_F_WRITE) != 0};
}

std::vector<std::byte> FakePackedDriver::get_bytes(std::uint64_t address,
                                                   std::uint64_t length) const {
  std::vector<std::byte> bytes(length);
  MUST(region_->window().translate(window::DriverAddress{address}, length, window::Access::kRead))
  .copy_out(0, bytes);
  return bytes;
}

}  // namespace airlock::testing
