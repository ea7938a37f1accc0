// SPDX-License-Identifier: Apache-2.0
#include "device/blk/blk_region.h"

#include <algorithm>
#include <bit>

#include "ring/layout.h"

namespace airlock::device {

namespace {

constexpr std::uint64_t kPageBytes = 4096;
/// What must fit whatever the region: larger requests can be split by their driver.
constexpr std::uint64_t kRequestBytesLeast = std::uint64_t{64} << 10;
/// No driver asks for more at once: a bound beyond it would only cost descriptors.
constexpr std::uint64_t kRequestBytesOfNote = std::uint64_t{16} << 20;
/// A header and a status for each entry of a queue, as a driver keeps them in the region.
constexpr std::uint64_t kFrameBytes = 64;

/// Descriptors that a driver has in the indirect table of each slot: our own takes no more.
constexpr std::uint16_t kTableEntries = 8;

/// Everything of the region that is not data: page 0, which is never used, rings, tables and
/// frames. Whatever the driver will negotiate: a split ring is the larger one.
std::uint64_t overhead(const BlkShape& shape) {
  const ring::QueueSize size = MUST(ring::QueueSize::from(shape.queue_size));
  const std::uint64_t rings = std::max(ring::Layout(size, ring::Format::kSplit).block_bytes(),
                                       ring::Layout(size, ring::Format::kPacked).block_bytes());
  const std::uint64_t queue = rings + ring::IndirectTables::bytes(size, kTableEntries) +
                              shape.queue_size * kFrameBytes + 4 * kPageBytes;
  return kPageBytes + shape.queues * queue;
}

}  // namespace

std::uint64_t blk_region_bytes_min(const BlkShape& shape) {
  return std::bit_ceil(overhead(shape) + 2 * kRequestBytesLeast * shape.queues);
}

std::uint64_t blk_request_bytes_max(const BlkShape& shape, std::uint64_t region_bytes) {
  const std::uint64_t taken = std::min(overhead(shape), region_bytes);
  const std::uint64_t bound = (region_bytes - taken) / shape.queues / 2;
  return bound >= kRequestBytesOfNote ? 0 : std::max(bound, kRequestBytesLeast);
}

}  // namespace airlock::device
