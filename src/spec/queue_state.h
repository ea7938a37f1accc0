// SPDX-License-Identifier: Apache-2.0
//
// docs/RESTART.md, "The state": what a device process leaves behind of its queues, for the one that
// takes its place. Private between a device and whoever starts it: no driver sees it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/le.h"

namespace airlock::spec {

/// Bytes of the whole: a header, then a record for each queue. All zero: no queue is live.
inline constexpr std::uint64_t QUEUE_STATE_BYTES = 65536;
/// Bytes of the header and of each record: queues don't write to one another's cache lines.
inline constexpr std::uint64_t QUEUE_STATE_RECORD_BYTES = 64;
inline constexpr std::uint16_t QUEUE_STATE_QUEUES =
    QUEUE_STATE_BYTES / QUEUE_STATE_RECORD_BYTES - 1;

/// What the header says once there is a live record; 0 before.
inline constexpr std::uint32_t QUEUE_STATE_VERSION = 1;

// VirtqState::live.
inline constexpr std::uint16_t QUEUE_STATE_NONE = 0;
inline constexpr std::uint16_t QUEUE_STATE_SPLIT = 1;
inline constexpr std::uint16_t QUEUE_STATE_PACKED = 2;

struct QueueStateHeader {
  Le32 version;  // +0
};
static_assert(sizeof(QueueStateHeader) == 4);
static_assert(std::has_unique_object_representations_v<QueueStateHeader>);

/// One queue. Positions are as PackedPosition::off_wrap() has them: VIRTIO 1.3, 2.8.14. Of a split
/// queue they are 0: where that stands, used.idx says.
struct VirtqState {
  Le16 live;      // +0  QUEUE_STATE_*
  Le16 size;      // +2  entries
  Le16 position;  // +4  packed: where the used descriptor goes that was shown last, or never was
  Le16 next;      // +6  packed: where the one after that goes
};
static_assert(sizeof(VirtqState) == 8 && alignof(VirtqState) == 2);
static_assert(offsetof(VirtqState, size) == 2 && offsetof(VirtqState, position) == 4);
static_assert(offsetof(VirtqState, next) == 6);
static_assert(std::has_unique_object_representations_v<VirtqState>);

}  // namespace airlock::spec
