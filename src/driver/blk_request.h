// SPDX-License-Identifier: Apache-2.0
//
// What goes into a disk's queue and what comes out of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/error.h"

namespace airlock::driver {

enum class BlkOp : std::uint8_t { kRead, kWrite, kFlush, kDiscard, kWriteZeroes, kGetId };

/// A request of any size: the driver splits it as the device's limits and the pool want it. Offsets
/// and lengths are in bytes, multiples of the block size.
///
/// The memory in `target` or `source` is the caller's; it must stay until the completion. Memory of
/// an InPlaceBuffer is used as it is, and anything else is bounced through the pool.
struct BlkRequest {
  BlkOp op = BlkOp::kFlush;
  std::uint64_t offset = 0;
  // NOLINTBEGIN(readability-redundant-member-init): GCC wants one, where a caller leaves it out
  std::span<std::byte> target = {};        // kRead, kGetId (20 bytes)
  std::span<const std::byte> source = {};  // kWrite
  // NOLINTEND(readability-redundant-member-init)
  std::uint64_t length = 0;  // kDiscard, kWriteZeroes
  bool unmap = false;        // kWriteZeroes: the blocks may be given up
  std::uint64_t cookie = 0;  // the caller's, comes back
};

/// The end of a request: each has exactly one.
struct BlkCompletion {
  std::uint64_t id = 0;  // as returned by submit()
  std::uint64_t cookie = 0;
  std::optional<Error> error;  // the first; a target's content is undefined then
};

}  // namespace airlock::driver
