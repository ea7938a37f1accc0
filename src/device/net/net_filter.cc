// SPDX-License-Identifier: Apache-2.0
#include "device/net/net_filter.h"

#include <algorithm>

#include "base/check.h"
#include "spec/virtio.h"

namespace airlock::device {

namespace {

constexpr MacAddress kBroadcast = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
constexpr std::size_t kEthernetTypeAt = 12;
constexpr unsigned kTypeVlan = 0x8100;  // IEEE 802.1Q

unsigned big_endian_16(std::span<const std::byte> bytes) {
  return std::to_integer<unsigned>(bytes[0]) << 8 | std::to_integer<unsigned>(bytes[1]);
}

/// The frame's VLAN; 0 if it names none.
unsigned vlan_of(std::span<const std::byte> frame) {
  if (!has_vlan_tag(frame)) return 0;
  return big_endian_16(frame.subspan(kEthernetBytes)) & 0xfff;
}

bool in_table(const NetMacTable& table, const MacAddress& address) {
  return table.all || std::ranges::find(table.addresses(), address) != table.addresses().end();
}

}  // namespace

bool has_vlan_tag(std::span<const std::byte> frame) {
  constexpr std::size_t kTaggedBytes = kEthernetBytes + kVlanTagBytes;
  return frame.size() >= kTaggedBytes && big_endian_16(frame.subspan(kEthernetTypeAt)) == kTypeVlan;
}

NetFilter NetFilter::initial(std::uint64_t features, const MacAddress& mac) {
  const auto has = [features](unsigned bit) { return (features & spec::feature(bit)) != 0; };
  NetFilter filter;
  filter.mac = mac;
  // A driver that did not ask for our address has made up its own.
  filter.all_unicast = !has(spec::VIRTIO_NET_F_MAC);
  filter.promiscuous = !has(spec::VIRTIO_NET_F_CTRL_RX);
  filter.filter_vlans = has(spec::VIRTIO_NET_F_CTRL_VLAN);
  return filter;
}

bool NetFilter::admits(std::span<const std::byte> frame) const {
  CHECK(frame.size() >= kEthernetBytes);
  if (promiscuous) return true;
  if (filter_vlans) {
    const unsigned vlan = vlan_of(frame);
    if (vlan != 0 && !vlans.test(vlan)) return false;
  }
  MacAddress target;
  std::ranges::copy(std::as_bytes(frame.first<spec::VIRTIO_NET_MAC_BYTES>()),
                    std::as_writable_bytes(std::span(target)).begin());
  if (target == kBroadcast) return !no_broadcast;
  if ((target[0] & 1) != 0) {
    return !no_multicast && (all_multicast || in_table(multicast, target));
  }
  return !no_unicast && (target == mac || all_unicast || in_table(unicast, target));
}

void NetFilterBoard::post(const NetFilter& filter) {
  const std::lock_guard lock(mutex_);
  filter_ = filter;
  // Pairs with the acquire load in version(): who sees it before an answer was published meets the
  // filter that the answer is about.
  version_.store(version_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

std::uint64_t NetFilterBoard::read(NetFilter& target) const {
  const std::lock_guard lock(mutex_);
  target = filter_;
  return version_.load(std::memory_order_relaxed);
}

}  // namespace airlock::device
