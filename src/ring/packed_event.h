// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/event.h"
#include "ring/packed_position.h"
#include "spec/virtio_ring.h"

namespace airlock::ring {

/// A private copy of an event suppression structure: when its owner wants to be told.
/// VIRTIO 1.3, 2.8.10, 2.8.14.
struct PackedEvent {
  std::uint16_t off_wrap = 0;  // for RING_EVENT_FLAGS_DESC: the slot, and its lap in bit 15
  std::uint16_t flags = spec::RING_EVENT_FLAGS_ENABLE;

  friend constexpr bool operator==(const PackedEvent&, const PackedEvent&) = default;
};

/// Whether the owner of `event`, as read, wants to be told that the peer went on by `moved` slots
/// (at most size) and stands at `now`. Every value is legal (HD-21): the reserved bits mean
/// nothing, and flags that make no sense, or that VIRTIO_F_EVENT_IDX was needed for, that it does.
inline bool packed_wants_event(const PackedEvent& event, bool event_idx, PackedPosition now,
                               std::uint32_t moved, QueueSize size) {
  const unsigned flags = event.flags & 3U;
  if (flags == spec::RING_EVENT_FLAGS_DISABLE) return false;
  if (flags != spec::RING_EVENT_FLAGS_DESC || !event_idx) return true;
  return airlock_need_event_packed(event.off_wrap, now.slot(), now.wrap(),
                                   static_cast<std::uint16_t>(moved), size.value());
}

}  // namespace airlock::ring
