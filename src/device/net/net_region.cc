// SPDX-License-Identifier: Apache-2.0
#include "device/net/net_region.h"

#include <algorithm>
#include <bit>

#include "ring/layout.h"

namespace airlock::device {

namespace {

constexpr std::uint64_t kNetPageBytes = 4096;
/// What a driver maps for one frame without segmentation: a slot of a pool.
constexpr std::uint64_t kBufferBytes = 2048;
/// Frames of the largest size that a transmit queue has room for at a time.
constexpr std::uint64_t kLargeFrames = 4;
constexpr std::uint64_t kLargeFrameBytes = std::uint64_t{64} << 10;
/// Descriptors that a driver has in the indirect table of each slot: our own takes no more.
constexpr std::uint16_t kNetTableEntries = 8;

/// A ring with its indirect tables, whatever the driver will negotiate: a split one is the larger.
std::uint64_t ring_bytes(ring::QueueSize size) {
  const std::uint64_t ring = std::max(ring::Layout(size, ring::Format::kSplit).block_bytes(),
                                      ring::Layout(size, ring::Format::kPacked).block_bytes());
  return ring + ring::IndirectTables::bytes(size, kNetTableEntries) + 4 * kNetPageBytes;
}

}  // namespace

std::uint64_t net_region_bytes_min(const NetShape& shape) {
  const ring::QueueSize size = MUST(ring::QueueSize::from(shape.queue_size));
  const std::uint64_t pair = shape.queue_size * kBufferBytes + kLargeFrames * kLargeFrameBytes;
  // Page 0 is never used.
  return std::bit_ceil(kNetPageBytes + shape.queues() * ring_bytes(size) + shape.pairs * pair);
}

}  // namespace airlock::device
