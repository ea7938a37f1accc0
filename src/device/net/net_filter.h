// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>

#include "device/net/net_config.h"

namespace airlock::device {

/// An Ethernet header: two addresses and a type. IEEE 802.3.
inline constexpr std::size_t kEthernetBytes = 14;
/// What a frame of a VLAN has in front of its type. IEEE 802.1Q.
inline constexpr std::size_t kVlanTagBytes = 4;

/// Whether a frame, of kEthernetBytes at least, has a VLAN tag, whole.
[[nodiscard]] bool has_vlan_tag(std::span<const std::byte> frame);

/// Addresses of one kind that a driver wants frames for.
struct NetMacTable {
  static constexpr std::size_t kMost = 64;

  std::array<MacAddress, kMost> storage{};
  std::uint32_t count = 0;
  bool all = false;  // the driver named more than fit: every address is in it

  [[nodiscard]] std::span<const MacAddress> addresses() const {
    return std::span(storage).first(count);
  }
  friend bool operator==(const NetMacTable&, const NetMacTable&) = default;
};

/// Which frames a driver gets. A value. VIRTIO 1.3, 5.1.6.5.1 to 5.1.6.5.3.
struct NetFilter {
  static constexpr std::size_t kVlans = 4096;

  MacAddress mac{};
  bool promiscuous = false;  // everything
  bool all_multicast = false;
  bool all_unicast = false;
  bool no_multicast = false;  // but for broadcast
  bool no_unicast = false;
  bool no_broadcast = false;
  bool filter_vlans = false;
  NetMacTable unicast;
  NetMacTable multicast;
  std::bitset<kVlans> vlans;  // with filter_vlans

  /// What a driver with these features begins with: without VIRTIO_NET_F_CTRL_RX it has no way to
  /// say what it wants, and gets everything.
  [[nodiscard]] static NetFilter initial(std::uint64_t features, const MacAddress& mac);

  /// Whether the driver gets this frame, which has an Ethernet header at least. Priority tags
  /// (VLAN 0) name no VLAN.
  [[nodiscard]] bool admits(std::span<const std::byte> frame) const;
};

/// A filter on its way from the control thread to the threads that receive: those look at a number
/// for each frame, and take a lock only when it has changed.
class NetFilterBoard {
 public:
  /// From now on each new frame meets this. Control thread.
  void post(const NetFilter& filter);

  /// Grows with each post(); starts at 0.
  [[nodiscard]] std::uint64_t version() const { return version_.load(std::memory_order_acquire); }
  /// What was posted last; returns its version. Any thread.
  std::uint64_t read(NetFilter& target) const;

 private:
  mutable std::mutex mutex_;  // guards filter_
  NetFilter filter_;
  std::atomic<std::uint64_t> version_{0};
};

}  // namespace airlock::device
