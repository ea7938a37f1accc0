// SPDX-License-Identifier: Apache-2.0
//
// VIRTIO 1.3, 2.7 and 2.8: split and packed virtqueues as they lie in shared memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/le.h"

namespace airlock::spec {

// Descriptor flags. VIRTIO 1.3, 2.7.5.
inline constexpr std::uint16_t VIRTQ_DESC_F_NEXT = 1;
inline constexpr std::uint16_t VIRTQ_DESC_F_WRITE = 2;
inline constexpr std::uint16_t VIRTQ_DESC_F_INDIRECT = 4;

/// Written by the driver: "don't interrupt me". VIRTIO 1.3, 2.7.6.
inline constexpr std::uint16_t VIRTQ_AVAIL_F_NO_INTERRUPT = 1;
/// Written by the device: "don't notify me". VIRTIO 1.3, 2.7.8.
inline constexpr std::uint16_t VIRTQ_USED_F_NO_NOTIFY = 1;

/// The largest queue. VIRTIO 1.3, 2.7.
inline constexpr std::uint32_t VIRTQ_SIZE_MAX = 32768;

/// Descriptor. VIRTIO 1.3, 2.7.5. Written by the driver only.
struct VirtqDesc {
  Le64 addr;   // +0   bus address or offset of the buffer
  Le32 len;    // +8   bytes
  Le16 flags;  // +12  VIRTQ_DESC_F_*
  Le16 next;   // +14  valid iff flags & VIRTQ_DESC_F_NEXT
};
static_assert(sizeof(VirtqDesc) == 16 && alignof(VirtqDesc) == 8);
static_assert(offsetof(VirtqDesc, len) == 8 && offsetof(VirtqDesc, flags) == 12);
static_assert(offsetof(VirtqDesc, next) == 14);
static_assert(std::has_unique_object_representations_v<VirtqDesc>);

/// What stands before the available ring: queue-size Le16 heads follow, then Le16 used_event.
/// VIRTIO 1.3, 2.7.6. Written by the driver only.
struct VirtqAvailHeader {
  Le16 flags;  // +0  VIRTQ_AVAIL_F_*
  Le16 idx;    // +2  where the driver puts the next head, modulo 2^16
};
static_assert(sizeof(VirtqAvailHeader) == 4 && offsetof(VirtqAvailHeader, idx) == 2);
static_assert(std::has_unique_object_representations_v<VirtqAvailHeader>);

/// What stands before the used ring: queue-size VirtqUsedElem follow, then Le16 avail_event.
/// VIRTIO 1.3, 2.7.8. Written by the device only.
struct VirtqUsedHeader {
  Le16 flags;  // +0  VIRTQ_USED_F_*
  Le16 idx;    // +2  where the device puts the next element, modulo 2^16
};
static_assert(sizeof(VirtqUsedHeader) == 4 && offsetof(VirtqUsedHeader, idx) == 2);
static_assert(std::has_unique_object_representations_v<VirtqUsedHeader>);

/// One returned chain. VIRTIO 1.3, 2.7.8. Four-byte aligned: never one eight-byte access.
struct VirtqUsedElem {
  Le32 id;   // +0  index of the chain's head
  Le32 len;  // +4  bytes that the device wrote into the chain's writable part
};
static_assert(sizeof(VirtqUsedElem) == 8 && alignof(VirtqUsedElem) == 4);
static_assert(offsetof(VirtqUsedElem, len) == 4);
static_assert(std::has_unique_object_representations_v<VirtqUsedElem>);

// Packed descriptor flags, beside the three above. VIRTIO 1.3, 2.8.1.
inline constexpr std::uint16_t VIRTQ_DESC_F_AVAIL = 1U << 7U;
inline constexpr std::uint16_t VIRTQ_DESC_F_USED = 1U << 15U;

/// Packed descriptor. VIRTIO 1.3, 2.8.13. Written by driver and device in turn.
struct PvirtqDesc {
  Le64 addr;   // +0   bus address or offset of the buffer
  Le32 len;    // +8   bytes; used: what the device wrote
  Le16 id;     // +12  the driver's name for the buffer, in the last descriptor of a chain
  Le16 flags;  // +14  VIRTQ_DESC_F_*; written last, read first
};
static_assert(sizeof(PvirtqDesc) == 16 && alignof(PvirtqDesc) == 8);
static_assert(offsetof(PvirtqDesc, id) == 12 && offsetof(PvirtqDesc, flags) == 14);
static_assert(std::has_unique_object_representations_v<PvirtqDesc>);

/// When a side wants to be told. VIRTIO 1.3, 2.8.14.
struct PvirtqEventSuppress {
  Le16 desc;   // +0  slot in bits 0 to 14, wrap counter in bit 15; for RING_EVENT_FLAGS_DESC
  Le16 flags;  // +2  RING_EVENT_FLAGS_* in bits 0 and 1
};
static_assert(sizeof(PvirtqEventSuppress) == 4 && offsetof(PvirtqEventSuppress, flags) == 2);
static_assert(std::has_unique_object_representations_v<PvirtqEventSuppress>);

// VIRTIO 1.3, 2.8.10.
inline constexpr std::uint16_t RING_EVENT_FLAGS_ENABLE = 0;
inline constexpr std::uint16_t RING_EVENT_FLAGS_DISABLE = 1;
inline constexpr std::uint16_t RING_EVENT_FLAGS_DESC = 2;  // only with VIRTIO_F_EVENT_IDX

}  // namespace airlock::spec
