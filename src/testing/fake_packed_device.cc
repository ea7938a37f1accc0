// SPDX-License-Identifier: Apache-2.0
#include "testing/fake_packed_device.h"

#include "core/packed.h"
#include "ring/packed_areas.h"

namespace airlock::testing {

namespace {

shm::SharedBytes packed_part(const shm::SharedBytes& region, window::RegionOffset offset,
                             std::uint64_t length) {
  return MUST(region.slice(std::to_underlying(offset), length));
}

}  // namespace

FakePackedDevice::FakePackedDevice(const shm::SharedBytes& region, ring::QueueSize size,
                                   const ring::AreaOffsets& areas)
    : size_(size),
      ring_(packed_part(region, areas.descriptors,
                        ring::Layout(size, ring::Format::kPacked).descriptors().bytes)),
      driver_event_(packed_part(region, areas.driver, sizeof(spec::PvirtqEventSuppress))),
      device_event_(packed_part(region, areas.device, sizeof(spec::PvirtqEventSuppress))) {}

airlock_descriptor FakePackedDevice::descriptor(std::uint32_t slot) const {
  return ring::PackedDeviceRing(ring_).snapshot(slot % size_.value());
}

bool FakePackedDevice::is_available(std::uint32_t slot, bool wrap) const {
  return airlock_packed_is_available(descriptor(slot).flags, wrap);
}

ring::PackedEvent FakePackedDevice::driver_event() const {
  return ring::PackedEventReader(driver_event_).snapshot();
}

void FakePackedDevice::put_descriptor(std::uint32_t slot, const airlock_descriptor& descriptor) {
  const std::uint64_t at = std::uint64_t{slot % size_.value()} * AIRLOCK_DESC_BYTES;
  ring_.store_relaxed<Le64>(at, Le64(descriptor.address));
  ring_.store_release<Le64>(at + 8,
                            Le64(ring::encode_descriptor_rest(descriptor, ring::Format::kPacked)));
}

void FakePackedDevice::set_device_event(const ring::PackedEvent& event) {
  ring::PackedEventWriter(device_event_).put(event);
}

void FakePackedDevice::use(std::uint16_t id, std::uint32_t length, std::uint32_t slots) {
  const std::uint16_t lap = airlock_packed_used_flags(next_used_.wrap());
  put_descriptor(
      next_used_.slot(),
      {.address = 0,
       .length = length,
       .flags = static_cast<std::uint16_t>(lap | (length != 0 ? spec::VIRTQ_DESC_F_WRITE : 0U)),
       .next = id});
  next_used_.advance(slots, size_);
}

}  // namespace airlock::testing
