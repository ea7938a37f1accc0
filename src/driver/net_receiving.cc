// SPDX-License-Identifier: Apache-2.0
#include "driver/net_receiving.h"

#include "core/range.h"
#include "pool/pool.h"

namespace airlock::driver {

std::uint32_t whole_frame_buffer_bytes(const NetInfo& info, std::uint64_t tag_bytes) {
  const std::uint64_t whole =
      kNetHeaderBytes + kTaggedEthernetBytes + std::uint64_t{info.mtu} + tag_bytes;
  return static_cast<std::uint32_t>((whole + pool::kSlotBytes - 1) / pool::kSlotBytes *
                                    pool::kSlotBytes);
}

std::optional<NetHeaderSays> judge_received(const spec::VirtioNetHdr& header,
                                            std::size_t frame_bytes, const NetInfo& info) {
  const bool missing = (header.flags & spec::VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0;
  const bool checked = (header.flags & spec::VIRTIO_NET_HDR_F_DATA_VALID) != 0;
  if (frame_bytes < kEthernetBytes) return std::nullopt;
  if (header.gso_type != spec::VIRTIO_NET_HDR_GSO_NONE) return std::nullopt;
  if ((missing || checked) && !info.may_lack_checksums) return std::nullopt;
  NetHeaderSays says{.missing_checksum = std::nullopt, .checksum_checked = checked};
  if (missing) {
    const std::uint32_t start = header.csum_start.get();
    const std::uint32_t field = start + header.csum_offset.get();  // below 2^17
    if (!airlock_range_within(field, sizeof(std::uint16_t), frame_bytes)) return std::nullopt;
    says.missing_checksum = {.start = header.csum_start.get(), .offset = header.csum_offset.get()};
  }
  return says;
}

}  // namespace airlock::driver
