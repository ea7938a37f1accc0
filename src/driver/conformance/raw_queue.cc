// SPDX-License-Identifier: Apache-2.0
#include "driver/conformance/raw_queue.h"

#include <utility>

#include "base/check.h"
#include "spec/virtio_ring.h"

namespace airlock::driver::conformance {

namespace {

constexpr std::byte kPattern{0xa5};

shm::SharedBytes raw_queue_part(const shm::SharedBytes& region, window::RegionOffset offset,
                                std::uint64_t bytes) {
  return MUST(region.slice(std::to_underlying(offset), bytes));
}

ring::AreaOffsets raw_queue_places(ring::QueueSize size, std::uint64_t start) {
  return ring::Layout(size).block_at(window::RegionOffset{start + RawQueue::kRingStart});
}

}  // namespace

RawQueue::RawQueue(const shm::SharedBytes& region, ring::QueueSize size,
                   const window::Publisher& publisher, std::uint64_t start)
    : size_(size),
      publisher_(publisher),
      data_start_(start + kDataStart),
      places_(raw_queue_places(size, start)),
      block_(raw_queue_part(region, window::RegionOffset{start + kRingStart},
                            ring::Layout(size).block_bytes())),
      driver_owned_(raw_queue_part(region, places_.descriptors,
                                   std::to_underlying(places_.device) - start - kRingStart)),
      data_(raw_queue_part(region, window::RegionOffset{data_start_}, kDataBytes)),
      descriptors_(
          raw_queue_part(region, places_.descriptors, ring::Layout(size).descriptors().bytes)),
      avail_(raw_queue_part(region, places_.driver, ring::Layout(size).driver().bytes)),
      used_(raw_queue_part(region, places_.device, ring::Layout(size).device().bytes)) {
  CHECK(size.value() <= kSlotsMax);
  CHECK(block_.size() <= kDataStart - kRingStart);
}

void RawQueue::clear() {
  block_.fill_zero(0, block_.size());
  data_.copy_in(0, std::vector<std::byte>(kDataBytes, kPattern));
  avail_index_ = 0;
}

ring::QueueAreas RawQueue::areas() const {
  return {.descriptors = publisher_.publish(places_.descriptors),
          .driver = publisher_.publish(places_.driver),
          .device = publisher_.publish(places_.device)};
}

std::uint64_t RawQueue::data_address(std::uint64_t offset) const {
  CHECK(offset <= kDataBytes);
  return std::to_underlying(publisher_.publish(window::RegionOffset{data_start_ + offset}));
}

void RawQueue::put_descriptor(std::uint32_t index, const airlock_descriptor& descriptor) {
  descriptors_.put(index & size_.mask(), descriptor);
}

void RawQueue::put_chain(std::uint16_t head, std::span<const Part> parts) {
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Part& part = parts[i];
    const bool last = i + 1 == parts.size();
    const auto index = static_cast<std::uint16_t>((head + i) & size_.mask());
    const unsigned flags = (part.writable ? spec::VIRTQ_DESC_F_WRITE : 0U) |
                           (last ? 0U : unsigned{spec::VIRTQ_DESC_F_NEXT});
    put_descriptor(index,
                   {.address = data_address(part.offset),
                    .length = part.length,
                    .flags = static_cast<std::uint16_t>(flags),
                    .next = static_cast<std::uint16_t>(last ? 0U : (index + 1U) & size_.mask())});
  }
}

void RawQueue::make_available(std::uint16_t head) {
  avail_.put(ring::RingIndex(avail_index_).slot(size_), head);
  set_avail_index(static_cast<std::uint16_t>(avail_index_ + 1));
}

void RawQueue::set_avail_index(std::uint16_t index) {
  avail_index_ = index;
  // Pairs with the device's acquire of avail.idx.
  avail_.publish_index(ring::RingIndex(index));
}

void RawQueue::set_avail_flags(std::uint16_t flags) {
  avail_.set_flags(flags);
}

void RawQueue::set_used_event(std::uint16_t index) {
  avail_.set_used_event(ring::RingIndex(index));
}

std::uint16_t RawQueue::used_index() const {
  return used_.acquire_index().value();  // pairs with the device's release of used.idx
}

std::uint16_t RawQueue::used_flags() const {
  return used_.flags();
}

ring::UsedElement RawQueue::used(std::uint16_t entry) const {
  return used_.snapshot(ring::RingIndex(entry).slot(size_));
}

void RawQueue::remember() {
  seen_rings_ = copy_of_rings();
  seen_data_ = copy_of_data();
}

bool RawQueue::data_changed() const {
  return copy_of_data() != seen_data_;
}

bool RawQueue::rings_changed() const {
  return copy_of_rings() != seen_rings_;
}

std::vector<std::byte> RawQueue::copy_of_rings() const {
  std::vector<std::byte> bytes(driver_owned_.size());
  driver_owned_.copy_out(0, bytes);
  return bytes;
}

std::vector<std::byte> RawQueue::copy_of_data() const {
  std::vector<std::byte> bytes(data_.size());
  data_.copy_out(0, bytes);
  return bytes;
}

}  // namespace airlock::driver::conformance
