// SPDX-License-Identifier: Apache-2.0
//
// The network device. VIRTIO 1.3, 5.1.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/le.h"

namespace airlock::spec {

// Feature bits, by number. VIRTIO 1.3, 5.1.3.
inline constexpr unsigned VIRTIO_NET_F_CSUM = 0;
inline constexpr unsigned VIRTIO_NET_F_GUEST_CSUM = 1;
inline constexpr unsigned VIRTIO_NET_F_CTRL_GUEST_OFFLOADS = 2;
inline constexpr unsigned VIRTIO_NET_F_MTU = 3;
inline constexpr unsigned VIRTIO_NET_F_MAC = 5;
inline constexpr unsigned VIRTIO_NET_F_GUEST_TSO4 = 7;
inline constexpr unsigned VIRTIO_NET_F_GUEST_TSO6 = 8;
inline constexpr unsigned VIRTIO_NET_F_GUEST_ECN = 9;
inline constexpr unsigned VIRTIO_NET_F_GUEST_UFO = 10;
inline constexpr unsigned VIRTIO_NET_F_HOST_TSO4 = 11;
inline constexpr unsigned VIRTIO_NET_F_HOST_TSO6 = 12;
inline constexpr unsigned VIRTIO_NET_F_HOST_ECN = 13;
inline constexpr unsigned VIRTIO_NET_F_HOST_UFO = 14;
inline constexpr unsigned VIRTIO_NET_F_MRG_RXBUF = 15;
inline constexpr unsigned VIRTIO_NET_F_STATUS = 16;
inline constexpr unsigned VIRTIO_NET_F_CTRL_VQ = 17;
inline constexpr unsigned VIRTIO_NET_F_CTRL_RX = 18;
inline constexpr unsigned VIRTIO_NET_F_CTRL_VLAN = 19;
inline constexpr unsigned VIRTIO_NET_F_CTRL_RX_EXTRA = 20;
inline constexpr unsigned VIRTIO_NET_F_GUEST_ANNOUNCE = 21;
inline constexpr unsigned VIRTIO_NET_F_MQ = 22;
inline constexpr unsigned VIRTIO_NET_F_CTRL_MAC_ADDR = 23;
inline constexpr unsigned VIRTIO_NET_F_GUEST_USO4 = 54;
inline constexpr unsigned VIRTIO_NET_F_GUEST_USO6 = 55;
inline constexpr unsigned VIRTIO_NET_F_HOST_USO = 56;
inline constexpr unsigned VIRTIO_NET_F_HASH_REPORT = 57;
inline constexpr unsigned VIRTIO_NET_F_GUEST_HDRLEN = 59;
inline constexpr unsigned VIRTIO_NET_F_RSS = 60;
inline constexpr unsigned VIRTIO_NET_F_RSC_EXT = 61;
inline constexpr unsigned VIRTIO_NET_F_STANDBY = 62;
inline constexpr unsigned VIRTIO_NET_F_SPEED_DUPLEX = 63;

/// Bytes of a MAC address.
inline constexpr std::size_t VIRTIO_NET_MAC_BYTES = 6;

/// Device configuration. VIRTIO 1.3, 5.1.4. Read by the driver only. A field is valid iff its
/// feature was negotiated.
struct VirtioNetConfig {
  std::array<std::uint8_t, VIRTIO_NET_MAC_BYTES> mac{};  // +0
  Le16 status;                                           // +6   VIRTIO_NET_S_*
  Le16 max_virtqueue_pairs;                              // +8
  Le16 mtu;                                              // +10  bytes, without the Ethernet header
  Le32 speed;                                            // +12  Mbit/s, VIRTIO_NET_SPEED_UNKNOWN
  std::uint8_t duplex = 0;                               // +16  VIRTIO_NET_DUPLEX_*
  std::uint8_t rss_max_key_size = 0;                     // +17
  Le16 rss_max_indirection_table_length;                 // +18
  Le32 supported_hash_types;                             // +20
};
static_assert(sizeof(VirtioNetConfig) == 24 && alignof(VirtioNetConfig) == 4);
static_assert(offsetof(VirtioNetConfig, status) == 6);
static_assert(offsetof(VirtioNetConfig, max_virtqueue_pairs) == 8);
static_assert(offsetof(VirtioNetConfig, mtu) == 10 && offsetof(VirtioNetConfig, speed) == 12);
static_assert(offsetof(VirtioNetConfig, duplex) == 16);
static_assert(offsetof(VirtioNetConfig, supported_hash_types) == 20);
static_assert(std::has_unique_object_representations_v<VirtioNetConfig>);

// Of status. VIRTIO 1.3, 5.1.4.
inline constexpr std::uint16_t VIRTIO_NET_S_LINK_UP = 1;
inline constexpr std::uint16_t VIRTIO_NET_S_ANNOUNCE = 2;

inline constexpr std::uint32_t VIRTIO_NET_SPEED_UNKNOWN = 0xffffffff;
inline constexpr std::uint8_t VIRTIO_NET_DUPLEX_FULL = 1;
inline constexpr std::uint8_t VIRTIO_NET_DUPLEX_UNKNOWN = 0xff;

// Bounds of max_virtqueue_pairs and mtu. VIRTIO 1.3, 5.1.4.1.
inline constexpr std::uint16_t VIRTIO_NET_VQ_PAIRS_MAX = 0x8000;
inline constexpr std::uint16_t VIRTIO_NET_MTU_MIN = 68;

/// What stands before each packet, either way, where VIRTIO_F_VERSION_1 was negotiated and
/// VIRTIO_NET_F_HASH_REPORT was not. VIRTIO 1.3, 5.1.6.
struct VirtioNetHdr {
  std::uint8_t flags = 0;     // +0   VIRTIO_NET_HDR_F_*
  std::uint8_t gso_type = 0;  // +1   VIRTIO_NET_HDR_GSO_*
  Le16 hdr_len;               // +2   bytes of all headers: a hint
  Le16 gso_size;              // +4   bytes of each segment behind its headers
  Le16 csum_start;            // +6   bytes of the packet before what is summed up
  Le16 csum_offset;           // +8   from there to where the checksum goes
  Le16 num_buffers;           // +10  received packets: buffers that it lies in
};
static_assert(sizeof(VirtioNetHdr) == 12 && alignof(VirtioNetHdr) == 2);
static_assert(offsetof(VirtioNetHdr, hdr_len) == 2 && offsetof(VirtioNetHdr, gso_size) == 4);
static_assert(offsetof(VirtioNetHdr, csum_start) == 6 && offsetof(VirtioNetHdr, csum_offset) == 8);
static_assert(offsetof(VirtioNetHdr, num_buffers) == 10);
static_assert(std::has_unique_object_representations_v<VirtioNetHdr>);

// Of flags. VIRTIO 1.3, 5.1.6.
inline constexpr std::uint8_t VIRTIO_NET_HDR_F_NEEDS_CSUM = 1;
inline constexpr std::uint8_t VIRTIO_NET_HDR_F_DATA_VALID = 2;
inline constexpr std::uint8_t VIRTIO_NET_HDR_F_RSC_INFO = 4;

// gso_type: one of the first five, and VIRTIO_NET_HDR_GSO_ECN with those of TCP. VIRTIO 1.3, 5.1.6.
inline constexpr std::uint8_t VIRTIO_NET_HDR_GSO_NONE = 0;
inline constexpr std::uint8_t VIRTIO_NET_HDR_GSO_TCPV4 = 1;
inline constexpr std::uint8_t VIRTIO_NET_HDR_GSO_UDP = 3;
inline constexpr std::uint8_t VIRTIO_NET_HDR_GSO_TCPV6 = 4;
inline constexpr std::uint8_t VIRTIO_NET_HDR_GSO_UDP_L4 = 5;
inline constexpr std::uint8_t VIRTIO_NET_HDR_GSO_ECN = 0x80;

/// What a control command starts with; its data follow, and a writable byte for the ack. VIRTIO
/// 1.3, 5.1.6.5. Written by the driver.
struct VirtioNetCtrlHdr {
  std::uint8_t command_class = 0;  // +0  VIRTIO_NET_CTRL_*
  std::uint8_t command = 0;        // +1
};
static_assert(sizeof(VirtioNetCtrlHdr) == 2);
static_assert(std::has_unique_object_representations_v<VirtioNetCtrlHdr>);

// The ack. VIRTIO 1.3, 5.1.6.5.
inline constexpr std::uint8_t VIRTIO_NET_OK = 0;
inline constexpr std::uint8_t VIRTIO_NET_ERR = 1;

// Packet receive filtering: a byte of data, 0 (off) or 1 (on). VIRTIO 1.3, 5.1.6.5.1.
inline constexpr std::uint8_t VIRTIO_NET_CTRL_RX = 0;
inline constexpr std::uint8_t VIRTIO_NET_CTRL_RX_PROMISC = 0;
inline constexpr std::uint8_t VIRTIO_NET_CTRL_RX_ALLMULTI = 1;
inline constexpr std::uint8_t VIRTIO_NET_CTRL_RX_ALLUNI = 2;
inline constexpr std::uint8_t VIRTIO_NET_CTRL_RX_NOMULTI = 3;
inline constexpr std::uint8_t VIRTIO_NET_CTRL_RX_NOUNI = 4;
inline constexpr std::uint8_t VIRTIO_NET_CTRL_RX_NOBCAST = 5;

// MAC addresses. TABLE_SET: two tables, unicast and multicast, each an Le32 count and as many
// addresses. ADDR_SET: one address. VIRTIO 1.3, 5.1.6.5.2.
inline constexpr std::uint8_t VIRTIO_NET_CTRL_MAC = 1;
inline constexpr std::uint8_t VIRTIO_NET_CTRL_MAC_TABLE_SET = 0;
inline constexpr std::uint8_t VIRTIO_NET_CTRL_MAC_ADDR_SET = 1;

// VLAN filtering: an Le16, the VLAN's id. VIRTIO 1.3, 5.1.6.5.3.
inline constexpr std::uint8_t VIRTIO_NET_CTRL_VLAN = 2;
inline constexpr std::uint8_t VIRTIO_NET_CTRL_VLAN_ADD = 0;
inline constexpr std::uint8_t VIRTIO_NET_CTRL_VLAN_DEL = 1;

// Gratuitous packets: no data. VIRTIO 1.3, 5.1.6.5.4.
inline constexpr std::uint8_t VIRTIO_NET_CTRL_ANNOUNCE = 3;
inline constexpr std::uint8_t VIRTIO_NET_CTRL_ANNOUNCE_ACK = 0;

// Queue pairs in use: an Le16. VIRTIO 1.3, 5.1.6.5.6.
inline constexpr std::uint8_t VIRTIO_NET_CTRL_MQ = 4;
inline constexpr std::uint8_t VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET = 0;

// Offloads of received packets: an Le64, of feature bits. VIRTIO 1.3, 5.1.6.5.8.
inline constexpr std::uint8_t VIRTIO_NET_CTRL_GUEST_OFFLOADS = 5;
inline constexpr std::uint8_t VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET = 0;

}  // namespace airlock::spec
