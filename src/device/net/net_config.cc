// SPDX-License-Identifier: Apache-2.0
#include "device/net/net_config.h"

#include <algorithm>

#include "spec/virtio.h"

namespace airlock::device {

namespace {

using spec::feature;

/// A feature, and those of which it needs one.
struct Requirement {
  unsigned bit;
  std::uint64_t any_of;
};

// VIRTIO 1.3, 5.1.3.1; the last but one for VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, 5.1.6.5.8, the last
// for 5.1.4.1: their commands need the queue as well.
constexpr Requirement kRequirements[] = {
    {.bit = spec::VIRTIO_NET_F_GUEST_TSO4, .any_of = feature(spec::VIRTIO_NET_F_GUEST_CSUM)},
    {.bit = spec::VIRTIO_NET_F_GUEST_TSO6, .any_of = feature(spec::VIRTIO_NET_F_GUEST_CSUM)},
    {.bit = spec::VIRTIO_NET_F_GUEST_ECN,
     .any_of = feature(spec::VIRTIO_NET_F_GUEST_TSO4) | feature(spec::VIRTIO_NET_F_GUEST_TSO6)},
    {.bit = spec::VIRTIO_NET_F_GUEST_USO4, .any_of = feature(spec::VIRTIO_NET_F_GUEST_CSUM)},
    {.bit = spec::VIRTIO_NET_F_GUEST_USO6, .any_of = feature(spec::VIRTIO_NET_F_GUEST_CSUM)},
    {.bit = spec::VIRTIO_NET_F_HOST_TSO4, .any_of = feature(spec::VIRTIO_NET_F_CSUM)},
    {.bit = spec::VIRTIO_NET_F_HOST_TSO6, .any_of = feature(spec::VIRTIO_NET_F_CSUM)},
    {.bit = spec::VIRTIO_NET_F_HOST_ECN,
     .any_of = feature(spec::VIRTIO_NET_F_HOST_TSO4) | feature(spec::VIRTIO_NET_F_HOST_TSO6)},
    {.bit = spec::VIRTIO_NET_F_HOST_USO, .any_of = feature(spec::VIRTIO_NET_F_CSUM)},
    {.bit = spec::VIRTIO_NET_F_CTRL_RX, .any_of = feature(spec::VIRTIO_NET_F_CTRL_VQ)},
    {.bit = spec::VIRTIO_NET_F_CTRL_VLAN, .any_of = feature(spec::VIRTIO_NET_F_CTRL_VQ)},
    {.bit = spec::VIRTIO_NET_F_GUEST_ANNOUNCE, .any_of = feature(spec::VIRTIO_NET_F_CTRL_VQ)},
    {.bit = spec::VIRTIO_NET_F_MQ, .any_of = feature(spec::VIRTIO_NET_F_CTRL_VQ)},
    {.bit = spec::VIRTIO_NET_F_CTRL_MAC_ADDR, .any_of = feature(spec::VIRTIO_NET_F_CTRL_VQ)},
    {.bit = spec::VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, .any_of = feature(spec::VIRTIO_NET_F_CTRL_VQ)},
    {.bit = spec::VIRTIO_NET_F_CTRL_RX_EXTRA, .any_of = feature(spec::VIRTIO_NET_F_CTRL_VQ)},
};

bool holds(const Requirement& requirement, std::uint64_t features) {
  return (features & feature(requirement.bit)) == 0 || (features & requirement.any_of) != 0;
}

}  // namespace

bool net_features_hold(std::uint64_t features) {
  return std::ranges::all_of(
      kRequirements, [&](const Requirement& requirement) { return holds(requirement, features); });
}

std::uint64_t net_features(std::uint64_t offloads, const NetShape& shape) {
  std::uint64_t features =
      feature(spec::VIRTIO_NET_F_MAC) | feature(spec::VIRTIO_NET_F_STATUS) |
      feature(spec::VIRTIO_NET_F_MRG_RXBUF) | feature(spec::VIRTIO_NET_F_CTRL_VQ) |
      feature(spec::VIRTIO_NET_F_CTRL_RX) | feature(spec::VIRTIO_NET_F_CTRL_RX_EXTRA) |
      feature(spec::VIRTIO_NET_F_CTRL_VLAN) | feature(spec::VIRTIO_NET_F_CTRL_MAC_ADDR) |
      feature(spec::VIRTIO_NET_F_GUEST_ANNOUNCE);
  features |= offloads & (kNetGuestOffloads | kNetHostOffloads);
  // What ECN requires may itself go.
  for (int pass = 0; pass < 2; ++pass) {
    for (const Requirement& requirement : kRequirements) {
      if (!holds(requirement, features)) features &= ~feature(requirement.bit);
    }
  }
  if ((features & kNetGuestOffloads) != 0) {
    features |= feature(spec::VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
  }
  if (shape.mtu != 0) features |= feature(spec::VIRTIO_NET_F_MTU);
  if (shape.pairs > 1) features |= feature(spec::VIRTIO_NET_F_MQ);
  if (shape.speed_mbits != 0) features |= feature(spec::VIRTIO_NET_F_SPEED_DUPLEX);
  return features;
}

spec::VirtioNetConfig net_config(const NetShape& shape, bool link_up) {
  spec::VirtioNetConfig config{};
  config.mac = shape.mac;
  config.status.set(link_up ? spec::VIRTIO_NET_S_LINK_UP : std::uint16_t{0});
  config.max_virtqueue_pairs.set(shape.pairs);
  config.mtu.set(shape.mtu);
  config.speed.set(shape.speed_mbits != 0 ? shape.speed_mbits : spec::VIRTIO_NET_SPEED_UNKNOWN);
  config.duplex =
      shape.speed_mbits != 0 ? spec::VIRTIO_NET_DUPLEX_FULL : spec::VIRTIO_NET_DUPLEX_UNKNOWN;
  return config;
}

}  // namespace airlock::device
