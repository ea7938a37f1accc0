// SPDX-License-Identifier: Apache-2.0
#include "testing/fake_device.h"

namespace airlock::testing {

namespace {

shm::SharedBytes area(const shm::SharedBytes& region, window::RegionOffset offset,
                      std::uint64_t length) {
  return MUST(region.slice(std::to_underlying(offset), length));
}

}  // namespace

FakeDevice::FakeDevice(const shm::SharedBytes& region, ring::QueueSize size,
                       const ring::AreaOffsets& areas)
    : size_(size),
      descriptors_(area(region, areas.descriptors, ring::Layout(size).descriptors().bytes)),
      scribble_(area(region, areas.descriptors, ring::Layout(size).descriptors().bytes)),
      avail_(area(region, areas.driver, ring::Layout(size).driver().bytes)),
      used_(area(region, areas.device, ring::Layout(size).device().bytes)) {}

airlock_descriptor FakeDevice::descriptor(std::uint32_t index) const {
  return descriptors_.snapshot(index & size_.mask());
}

std::uint16_t FakeDevice::available(std::uint16_t entry) const {
  return avail_.head(ring::RingIndex(entry).slot(size_));
}

std::uint16_t FakeDevice::avail_index() const {
  return avail_.acquire_index().value();
}

std::uint16_t FakeDevice::avail_flags() const {
  return avail_.flags();
}

std::uint16_t FakeDevice::used_event() const {
  return avail_.used_event().value();
}

void FakeDevice::put_used(std::uint16_t entry, const ring::UsedElement& element) {
  used_.put(ring::RingIndex(entry).slot(size_), element);
}

void FakeDevice::set_used_index(std::uint16_t index) {
  used_index_ = index;
  used_.publish_index(ring::RingIndex(index));
}

void FakeDevice::set_used_flags(std::uint16_t flags) {
  used_.set_flags(flags);
}

void FakeDevice::set_avail_event(std::uint16_t index) {
  used_.set_avail_event(ring::RingIndex(index));
}

void FakeDevice::scribble_descriptor(std::uint32_t index, const airlock_descriptor& descriptor) {
  scribble_.put(index & size_.mask(), descriptor);
}

void FakeDevice::use(std::uint32_t id, std::uint32_t length) {
  use_batch(id, length, 1);
}

void FakeDevice::use_batch(std::uint32_t id, std::uint32_t length, std::uint16_t count) {
  put_used(used_index_, {.id = id, .length = length});
  set_used_index(static_cast<std::uint16_t>(used_index_ + count));
}

}  // namespace airlock::testing
