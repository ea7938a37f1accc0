// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/result.h"
#include "device/net/net_config.h"
#include "device/net/net_filter.h"
#include "ring/chain.h"

namespace airlock::device {

/// What control commands are checked against.
struct NetCommandRules {
  std::uint64_t features = 0;   // that were negotiated
  std::uint16_t pairs_max = 1;  // of the configuration's max_virtqueue_pairs

  friend bool operator==(const NetCommandRules&, const NetCommandRules&) = default;
};

/// A control command, checked, and private: nothing of it is read from shared memory again.
///
/// What it proves unless it is kRefused: the feature that brings the command was negotiated, its
/// data are whole, and what they name exists.
struct NetCommand {
  enum class Kind : std::uint8_t {
    kPromiscuous,   // on
    kAllMulticast,  // on
    kAllUnicast,    // on
    kNoMulticast,   // on
    kNoUnicast,     // on
    kNoBroadcast,   // on
    kMacTables,     // unicast, multicast
    kMacAddress,    // mac
    kAddVlan,       // vlan
    kDeleteVlan,    // vlan
    kAnnounced,
    kPairs,     // pairs
    kOffloads,  // offloads
    kRefused,
  };

  Kind kind = Kind::kRefused;
  bool on = false;
  MacAddress mac{};
  std::uint16_t vlan = 0;      // below NetFilter::kVlans
  std::uint16_t pairs = 0;     // 1 to pairs_max
  std::uint64_t offloads = 0;  // bits of kNetGuestOffloads that were negotiated
  NetMacTable unicast;
  NetMacTable multicast;
};

/// Reads a command out of `chain`, by counting bytes, however the driver cut it into buffers
/// (VIRTIO 1.3, 2.7.4). Takes time for the addresses that are kept, not for those that a table
/// claims to have.
/// Errors: kTooSmall: there is no byte for the ack, so that nothing can be answered. A driver that
/// does this is broken, and so is its queue.
/// VIRTIO 1.3, 5.1.6.5.
[[nodiscard]] Result<void> parse_net_command(const ring::Chain& chain, const NetCommandRules& rules,
                                             NetCommand& target);

}  // namespace airlock::device
