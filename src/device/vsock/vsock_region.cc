// SPDX-License-Identifier: Apache-2.0
#include "device/vsock/vsock_region.h"

#include <algorithm>
#include <bit>

#include "ring/layout.h"
#include "spec/virtio_vsock.h"

namespace airlock::device {

namespace {
constexpr std::uint64_t kGuestPageBytes = 4096;
/// Linux cuts what it sends into packets of this, each in one mapping.
constexpr std::uint64_t kPacketBytes = std::uint64_t{64} << 10;
constexpr std::uint64_t kPacketsAtOnce = 4;
}  // namespace

std::uint64_t vsock_region_bytes_min(std::uint16_t queue_size) {
  const ring::QueueSize size = MUST(ring::QueueSize::from(queue_size));
  const std::uint64_t rings = std::max(ring::Layout(size, ring::Format::kSplit).block_bytes(),
                                       ring::Layout(size, ring::Format::kPacked).block_bytes());
  // Page 0 is never used; the event queue's buffers are a few bytes each.
  const std::uint64_t overhead =
      kGuestPageBytes + spec::VIRTIO_VSOCK_QUEUES * (rings + kGuestPageBytes);
  return std::bit_ceil(overhead + queue_size * kGuestPageBytes + kPacketsAtOnce * kPacketBytes);
}

}  // namespace airlock::device
