// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "spec/virtio_net.h"

namespace airlock::device {

using MacAddress = std::array<std::uint8_t, spec::VIRTIO_NET_MAC_BYTES>;

/// Least and most entries of a queue: room for a frame in many pieces, and no more pieces than one
/// system call takes.
inline constexpr std::uint16_t kNetQueueSizeLeast = 16;
inline constexpr std::uint16_t kNetQueueSizeMost = 512;
/// Most pairs of queues: each has two threads.
inline constexpr std::uint16_t kNetPairsMost = 64;

/// What of a network card is chosen, not given by its backend.
struct NetShape {
  std::uint16_t pairs = 1;         // 1 to kNetPairsMost
  std::uint16_t queue_size = 256;  // entries, a power of two
  MacAddress mac{};
  std::uint16_t mtu = 0;          // bytes without the Ethernet header; 0: the driver isn't told
  std::uint32_t speed_mbits = 0;  // what the driver is told; 0: nothing

  /// Queues of such a card: a receive and a transmit queue for each pair, and the control queue.
  [[nodiscard]] std::uint16_t queues() const { return static_cast<std::uint16_t>(2 * pairs + 1); }
};

/// Bytes of the configuration that the device has: up to the fields of features it never offers.
inline constexpr std::size_t kNetConfigBytes = offsetof(spec::VirtioNetConfig, rss_max_key_size);

/// What a driver may be given in headers: these features, and what the commands of
/// VIRTIO_NET_F_CTRL_GUEST_OFFLOADS turn on and off.
inline constexpr std::uint64_t kNetGuestOffloads =
    std::uint64_t{1} << spec::VIRTIO_NET_F_GUEST_CSUM |
    std::uint64_t{1} << spec::VIRTIO_NET_F_GUEST_TSO4 |
    std::uint64_t{1} << spec::VIRTIO_NET_F_GUEST_TSO6 |
    std::uint64_t{1} << spec::VIRTIO_NET_F_GUEST_ECN |
    std::uint64_t{1} << spec::VIRTIO_NET_F_GUEST_USO4 |
    std::uint64_t{1} << spec::VIRTIO_NET_F_GUEST_USO6;
/// What a driver may ask for in headers.
inline constexpr std::uint64_t kNetHostOffloads = std::uint64_t{1} << spec::VIRTIO_NET_F_CSUM |
                                                  std::uint64_t{1} << spec::VIRTIO_NET_F_HOST_TSO4 |
                                                  std::uint64_t{1} << spec::VIRTIO_NET_F_HOST_TSO6 |
                                                  std::uint64_t{1} << spec::VIRTIO_NET_F_HOST_ECN |
                                                  std::uint64_t{1} << spec::VIRTIO_NET_F_HOST_USO;

/// Whether each feature has those that it requires. VIRTIO 1.3, 5.1.3.1.
[[nodiscard]] bool net_features_hold(std::uint64_t features);

/// The device type's own features over a backend with these offloads, of which those without what
/// they require are left out. VIRTIO 1.3, 5.1.3; BASE-3.
[[nodiscard]] std::uint64_t net_features(std::uint64_t offloads, const NetShape& shape);

/// The configuration as a driver first reads it. VIRTIO 1.3, 5.1.4.
[[nodiscard]] spec::VirtioNetConfig net_config(const NetShape& shape, bool link_up);

}  // namespace airlock::device
