// SPDX-License-Identifier: Apache-2.0
#include "device/net/net_header.h"

#include <algorithm>

#include "core/range.h"
#include "spec/virtio.h"

namespace airlock::device {

namespace {

bool has(std::uint64_t features, unsigned bit) {
  return (features & spec::feature(bit)) != 0;
}

/// Whether a frame may be one to be cut up in this way.
bool segmentation_allowed(std::uint8_t gso_type, const NetHeaderRules& rules) {
  const bool ecn = (gso_type & spec::VIRTIO_NET_HDR_GSO_ECN) != 0;
  if (ecn && !rules.ecn) return false;
  switch (gso_type & ~spec::VIRTIO_NET_HDR_GSO_ECN) {
    case spec::VIRTIO_NET_HDR_GSO_TCPV4:
      return rules.tcp4;
    case spec::VIRTIO_NET_HDR_GSO_TCPV6:
      return rules.tcp6;
    case spec::VIRTIO_NET_HDR_GSO_UDP_L4:
      return rules.udp && !ecn;
    default:
      return false;
  }
}

}  // namespace

NetHeaderRules net_transmit_rules(std::uint64_t features) {
  return {.checksum = has(features, spec::VIRTIO_NET_F_CSUM),
          .validated = false,
          .tcp4 = has(features, spec::VIRTIO_NET_F_HOST_TSO4),
          .tcp6 = has(features, spec::VIRTIO_NET_F_HOST_TSO6),
          .ecn = has(features, spec::VIRTIO_NET_F_HOST_ECN),
          .udp = has(features, spec::VIRTIO_NET_F_HOST_USO)};
}

NetHeaderRules net_receive_rules(std::uint64_t guest_offloads) {
  return {.checksum = has(guest_offloads, spec::VIRTIO_NET_F_GUEST_CSUM),
          .validated = has(guest_offloads, spec::VIRTIO_NET_F_GUEST_CSUM),
          .tcp4 = has(guest_offloads, spec::VIRTIO_NET_F_GUEST_TSO4),
          .tcp6 = has(guest_offloads, spec::VIRTIO_NET_F_GUEST_TSO6),
          .ecn = has(guest_offloads, spec::VIRTIO_NET_F_GUEST_ECN),
          // One type of segments stands for both.
          .udp = has(guest_offloads, spec::VIRTIO_NET_F_GUEST_USO4) &&
                 has(guest_offloads, spec::VIRTIO_NET_F_GUEST_USO6)};
}

std::optional<spec::VirtioNetHdr> check_net_header(const spec::VirtioNetHdr& header,
                                                   std::size_t frame_bytes,
                                                   const NetHeaderRules& rules) {
  spec::VirtioNetHdr checked{};
  // A hint, of which nobody may rely on anything (5.1.6.2.2).
  checked.hdr_len.set(
      static_cast<std::uint16_t>(std::min<std::size_t>(header.hdr_len.get(), frame_bytes)));
  if ((header.flags & spec::VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0) {
    const std::uint32_t at = std::uint32_t{header.csum_start.get()} + header.csum_offset.get();
    if (!rules.checksum || !airlock_range_within(at, sizeof(Le16), frame_bytes)) {
      return std::nullopt;
    }
    checked.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM;
    checked.csum_start = header.csum_start;
    checked.csum_offset = header.csum_offset;
  } else if ((header.flags & spec::VIRTIO_NET_HDR_F_DATA_VALID) != 0 && rules.validated) {
    checked.flags = spec::VIRTIO_NET_HDR_F_DATA_VALID;
  }
  if (header.gso_type == spec::VIRTIO_NET_HDR_GSO_NONE) return checked;
  // What is cut up has its checksums made anew. 5.1.6.2.1.
  if (!segmentation_allowed(header.gso_type, rules) || header.gso_size.get() == 0 ||
      (checked.flags & spec::VIRTIO_NET_HDR_F_NEEDS_CSUM) == 0) {
    return std::nullopt;
  }
  checked.gso_type = header.gso_type;
  checked.gso_size = header.gso_size;
  return checked;
}

}  // namespace airlock::device
