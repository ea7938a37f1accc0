// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/result.h"
#include "spec/virtio.h"
#include "spec/virtio_net.h"

namespace airlock::driver {

/// What this driver can work with; each is accepted if offered. No segments of TCP: those are for
/// who has a TCP.
inline constexpr std::uint64_t kNetFeatures =
    spec::feature(spec::VIRTIO_NET_F_CSUM) | spec::feature(spec::VIRTIO_NET_F_GUEST_CSUM) |
    spec::feature(spec::VIRTIO_NET_F_MTU) | spec::feature(spec::VIRTIO_NET_F_MAC) |
    spec::feature(spec::VIRTIO_NET_F_MRG_RXBUF) | spec::feature(spec::VIRTIO_NET_F_STATUS) |
    spec::feature(spec::VIRTIO_NET_F_CTRL_VQ) | spec::feature(spec::VIRTIO_NET_F_CTRL_RX) |
    spec::feature(spec::VIRTIO_NET_F_CTRL_MAC_ADDR) | spec::feature(spec::VIRTIO_NET_F_MQ) |
    spec::feature(spec::VIRTIO_NET_F_GUEST_ANNOUNCE);

/// An Ethernet header; with a VLAN tag.
inline constexpr std::size_t kEthernetBytes = 14;
inline constexpr std::size_t kTaggedEthernetBytes = 18;
/// Of a device that names no other.
inline constexpr std::uint16_t kUsualMtu = 1500;
/// The largest frame that a device can have for us. VIRTIO 1.3, 5.1.6.3.1.
inline constexpr std::size_t kReceivedFrameMax = 65550;

using MacAddress = std::array<std::uint8_t, spec::VIRTIO_NET_MAC_BYTES>;

/// The network card as its configuration described it, checked once (HD-12, HD-13). Only the link's
/// state is ever read again.
struct NetInfo {
  std::optional<MacAddress> mac;  // of one station; without, the driver is to choose one
  std::uint16_t mtu = kUsualMtu;  // of packets, without the Ethernet header
  std::uint16_t pairs_max = 1;    // of queues
  bool mergeable = false;         // a received frame may lie in several buffers
  bool completes_checksums = false;
  bool may_lack_checksums = false;  // received frames
  bool has_status = false;
  bool has_control = false;

  friend bool operator==(const NetInfo&, const NetInfo&) = default;
};

/// What changes while the device runs.
struct NetStatus {
  bool link_up = true;
  bool announce = false;  // the device wants the driver to tell the network where it is

  friend bool operator==(const NetStatus&, const NetStatus&) = default;
};

/// The widths of VirtioNetConfig's fields, as far as they are of use here.
std::span<const std::uint8_t> net_config_widths();

/// Checks `config`, of which the device has the first `available` bytes, under the accepted
/// `features`. Errors: kMalformed, with the offset of the field that makes no sense.
/// VIRTIO 1.3, 5.1.4.
Result<NetInfo> parse_net_config(const spec::VirtioNetConfig& config, std::size_t available,
                                 std::uint64_t features);

/// The status field; without VIRTIO_NET_F_STATUS the link is up. VIRTIO 1.3, 5.1.4.2.
NetStatus parse_net_status(const spec::VirtioNetConfig& config, std::uint64_t features);

}  // namespace airlock::driver
