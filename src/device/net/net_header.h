// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "spec/virtio_net.h"

namespace airlock::device {

/// What stands before each frame, either way.
inline constexpr std::uint32_t kNetHeaderBytes = sizeof(spec::VirtioNetHdr);

/// What the headers of one direction may ask for: what was negotiated for it.
struct NetHeaderRules {
  bool checksum = false;   // NEEDS_CSUM: the checksum is left to who gets the frame
  bool validated = false;  // DATA_VALID: somebody looked at the checksum
  bool tcp4 = false;
  bool tcp6 = false;
  bool ecn = false;
  bool udp = false;  // VIRTIO_NET_HDR_GSO_UDP_L4

  friend bool operator==(const NetHeaderRules&, const NetHeaderRules&) = default;
};

/// Of headers that a driver writes, with these features negotiated. VIRTIO 1.3, 5.1.6.2.1.
[[nodiscard]] NetHeaderRules net_transmit_rules(std::uint64_t features);
/// Of headers that a driver gets, with these offloads on. VIRTIO 1.3, 5.1.6.4.1.
[[nodiscard]] NetHeaderRules net_receive_rules(std::uint64_t guest_offloads);

/// Checks a private copy of the header of a frame of `frame_bytes`, and gives it back with nothing
/// in it but what has a meaning: flags that nobody knows are ignored, fields that no flag vouches
/// for are zero, hdr_len is within the frame, num_buffers is 0. nullopt: it asks for what was not
/// negotiated (ATK-14), or for places outside the frame, or is no header of a frame at all.
/// VIRTIO 1.3, 5.1.6.2.1, 5.1.6.2.2.
[[nodiscard]] std::optional<spec::VirtioNetHdr> check_net_header(const spec::VirtioNetHdr& header,
                                                                 std::size_t frame_bytes,
                                                                 const NetHeaderRules& rules);

}  // namespace airlock::device
