// SPDX-License-Identifier: Apache-2.0
#include "testing/hostile_driver_packed.h"

#include <algorithm>

#include "core/packed.h"
#include "ring/packed_areas.h"

namespace airlock::testing {

namespace {

ring::QueueSize packed_slots() {
  return MUST(ring::QueueSize::from(HostilePackedRing::kSlots, ring::Format::kPacked));
}

}  // namespace

std::uint16_t HostilePackedRing::available_flags() const {
  return airlock_packed_available_flags(next_avail_.wrap());
}

std::uint16_t HostilePackedRing::next_lap_flags() const {
  return airlock_packed_available_flags(!next_avail_.wrap());
}

void HostilePackedRing::submit(const std::vector<airlock_descriptor>& chain) {
  const unsigned more = chain.size() > 1 ? AIRLOCK_DESC_NEXT : 0U;
  submit_as(chain, next_avail_.slot(),
            static_cast<std::uint16_t>(chain.front().flags | available_flags() | more));
}

// The flags of the first come last. VIRTIO 1.3, 2.8.6.
void HostilePackedRing::submit_as(const std::vector<airlock_descriptor>& chain, std::uint16_t id,
                                  std::uint16_t first_flags) {
  const ring::PackedTableWriter writer(descriptors_);
  const std::uint16_t first = next_avail_.slot();
  slots_[id] = static_cast<std::uint32_t>(chain.size());
  for (std::size_t i = 0; i < chain.size(); ++i) {
    airlock_descriptor one = chain[i];
    const unsigned more = i + 1 < chain.size() ? AIRLOCK_DESC_NEXT : 0U;
    one.flags = i == 0 ? airlock_packed_used_flags(!next_avail_.wrap())
                       : static_cast<std::uint16_t>(one.flags | available_flags() | more);
    one.next = id;
    writer.put(next_avail_.slot(), one);
    next_avail_.advance(1, packed_slots());
  }
  ring::PackedDriverRing(descriptors_).publish_flags(first, first_flags);
}

std::optional<ring::UsedElement> HostilePackedRing::take_used() {
  const ring::PackedDriverRing reader(descriptors_);
  if (!airlock_packed_is_used(reader.acquire_flags(next_used_.slot()), next_used_.wrap())) {
    return std::nullopt;
  }
  const ring::PackedUsed used = reader.used(next_used_.slot());
  next_used_.advance(std::max(slots_[used.id], 1U), packed_slots());
  return ring::UsedElement{.id = used.id, .length = used.length};
}

}  // namespace airlock::testing
