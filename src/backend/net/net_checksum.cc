// SPDX-License-Identifier: Apache-2.0
#include "backend/net/net_checksum.h"

#include <cstdint>
#include <cstring>

#include "base/check.h"
#include "core/range.h"

namespace airlock::backend {

namespace {

constexpr std::size_t kSumBytes = 2;

/// The ones' complement sum of 16-bit words as they lie in memory, folded: RFC 1071, by which the
/// order of bytes does not matter as long as it is the same for the result.
std::uint16_t ones_complement_sum(std::span<const std::byte> bytes) {
  std::uint64_t sum = 0;
  std::uint32_t word = 0;
  while (bytes.size() >= sizeof word) {
    std::memcpy(&word, bytes.data(), sizeof word);
    sum += word;
    bytes = bytes.subspan(sizeof word);
  }
  word = 0;
  std::memcpy(&word, bytes.data(), bytes.size());
  sum += word;
  while (sum >> 16U != 0)
    sum = (sum & 0xffffU) + (sum >> 16U);
  return static_cast<std::uint16_t>(sum);
}

}  // namespace

bool header_fits(const spec::VirtioNetHdr& header, std::size_t length) {
  if (header.gso_type != spec::VIRTIO_NET_HDR_GSO_NONE && header.gso_size.get() == 0) return false;
  if ((header.flags & spec::VIRTIO_NET_HDR_F_NEEDS_CSUM) == 0) return true;
  const std::size_t start = header.csum_start.get();
  const std::size_t field = start + header.csum_offset.get();  // below 2^17
  return airlock_range_within(field, kSumBytes, length);
}

void complete_checksum(const spec::VirtioNetHdr& header, std::span<std::byte> frame) {
  if ((header.flags & spec::VIRTIO_NET_HDR_F_NEEDS_CSUM) == 0) return;
  CHECK(header_fits(header, frame.size()));
  const std::span<std::byte> counted = frame.subspan(header.csum_start.get());
  const auto sum = static_cast<std::uint16_t>(~ones_complement_sum(counted));
  // Zero would mean to UDP that there is no checksum; its other form means the same to all.
  const std::uint16_t wire = sum == 0 ? 0xffff : sum;
  std::memcpy(counted.subspan(header.csum_offset.get()).data(), &wire, sizeof wire);
}

}  // namespace airlock::backend
