// SPDX-License-Identifier: Apache-2.0
#include "driver/net_info.h"

#include <algorithm>

#include "core/range.h"

namespace airlock::driver {

namespace {

using NetConfig = spec::VirtioNetConfig;

constexpr std::array<std::uint8_t, 9> kNetWidths{1, 1, 1, 1, 1, 1, 2, 2, 2};
constexpr std::uint8_t kGroupBit = 1;  // of a MAC address's first byte

bool has_net(std::uint64_t features, unsigned bit) {
  return (features & spec::feature(bit)) != 0;
}

std::unexpected<Error> bad_field(std::size_t offset) {
  return fail({.code = Errc::kMalformed, .detail = static_cast<std::uint32_t>(offset)});
}

/// One station's address: no group's, and not none at all.
bool is_station(const MacAddress& mac) {
  return (mac[0] & kGroupBit) == 0 && std::ranges::any_of(mac, [](auto byte) { return byte != 0; });
}

}  // namespace

std::span<const std::uint8_t> net_config_widths() {
  return kNetWidths;
}

Result<NetInfo> parse_net_config(const NetConfig& config, std::size_t available,
                                 std::uint64_t features) {
  NetInfo info;
  // The field of a feature must be there.
  const auto lacks = [&](std::size_t offset, std::size_t size) {
    return !airlock_range_within(offset, size, available);
  };
  if (has_net(features, spec::VIRTIO_NET_F_MAC)) {
    if (lacks(offsetof(NetConfig, mac), sizeof config.mac) || !is_station(config.mac)) {
      return bad_field(offsetof(NetConfig, mac));
    }
    info.mac = config.mac;
  }
  info.has_status = has_net(features, spec::VIRTIO_NET_F_STATUS);
  if (info.has_status && lacks(offsetof(NetConfig, status), sizeof config.status)) {
    return bad_field(offsetof(NetConfig, status));
  }
  info.has_control = has_net(features, spec::VIRTIO_NET_F_CTRL_VQ);
  if (has_net(features, spec::VIRTIO_NET_F_MQ)) {
    const std::uint16_t pairs = config.max_virtqueue_pairs.get();
    const bool sane = pairs >= 1 && pairs <= spec::VIRTIO_NET_VQ_PAIRS_MAX && info.has_control;
    if (lacks(offsetof(NetConfig, max_virtqueue_pairs), sizeof config.max_virtqueue_pairs) ||
        !sane) {
      return bad_field(offsetof(NetConfig, max_virtqueue_pairs));
    }
    info.pairs_max = pairs;
  }
  if (has_net(features, spec::VIRTIO_NET_F_MTU)) {
    const std::uint16_t mtu = config.mtu.get();
    if (lacks(offsetof(NetConfig, mtu), sizeof config.mtu) || mtu < spec::VIRTIO_NET_MTU_MIN) {
      return bad_field(offsetof(NetConfig, mtu));
    }
    info.mtu = mtu;
  }
  info.mergeable = has_net(features, spec::VIRTIO_NET_F_MRG_RXBUF);
  info.completes_checksums = has_net(features, spec::VIRTIO_NET_F_CSUM);
  info.may_lack_checksums = has_net(features, spec::VIRTIO_NET_F_GUEST_CSUM);
  return info;
}

NetStatus parse_net_status(const NetConfig& config, std::uint64_t features) {
  if (!has_net(features, spec::VIRTIO_NET_F_STATUS)) return {};
  const std::uint16_t status = config.status.get();
  const bool announces = has_net(features, spec::VIRTIO_NET_F_GUEST_ANNOUNCE);
  return {.link_up = (status & spec::VIRTIO_NET_S_LINK_UP) != 0,
          .announce = announces && (status & spec::VIRTIO_NET_S_ANNOUNCE) != 0};
}

}  // namespace airlock::driver
