// SPDX-License-Identifier: Apache-2.0
#include "device/net/net_command.h"

#include <optional>

#include "core/range.h"
#include "spec/virtio.h"
#include "spec/virtio_net.h"

namespace airlock::device {

namespace {

using CommandKind = NetCommand::Kind;

constexpr std::uint32_t kCommandHeaderBytes = sizeof(spec::VirtioNetCtrlHdr);
constexpr std::uint32_t kAckBytes = 1;

struct CommandReader {
  const ring::Chain& chain;
  const NetCommandRules& rules;
  std::uint32_t at = kCommandHeaderBytes;

  [[nodiscard]] bool has(unsigned bit) const { return (rules.features & spec::feature(bit)) != 0; }
  template <class T>
  std::optional<T> take() {
    const auto value = chain.read<T>(at);
    if (!value) return std::nullopt;
    at += static_cast<std::uint32_t>(sizeof(T));
    return *value;
  }
  [[nodiscard]] std::uint32_t left() const { return chain.readable_bytes() - at; }
};

// Each function below fills `target` and gives what it is, kRefused for one that breaks a rule.

CommandKind parse_switch(CommandReader& reader, std::uint8_t command, NetCommand& target) {
  const bool extra = command > spec::VIRTIO_NET_CTRL_RX_ALLMULTI;
  if (!reader.has(extra ? spec::VIRTIO_NET_F_CTRL_RX_EXTRA : spec::VIRTIO_NET_F_CTRL_RX)) {
    return CommandKind::kRefused;
  }
  const auto value = reader.take<std::uint8_t>();
  if (!value || *value > 1) return CommandKind::kRefused;
  target.on = *value == 1;
  switch (command) {
    case spec::VIRTIO_NET_CTRL_RX_PROMISC:
      return CommandKind::kPromiscuous;
    case spec::VIRTIO_NET_CTRL_RX_ALLMULTI:
      return CommandKind::kAllMulticast;
    case spec::VIRTIO_NET_CTRL_RX_ALLUNI:
      return CommandKind::kAllUnicast;
    case spec::VIRTIO_NET_CTRL_RX_NOMULTI:
      return CommandKind::kNoMulticast;
    case spec::VIRTIO_NET_CTRL_RX_NOUNI:
      return CommandKind::kNoUnicast;
    case spec::VIRTIO_NET_CTRL_RX_NOBCAST:
      return CommandKind::kNoBroadcast;
    default:
      return CommandKind::kRefused;
  }
}

bool parse_table(CommandReader& reader, NetMacTable& target) {
  const auto entries = reader.take<Le32>();
  if (!entries) return false;
  const std::uint64_t bytes = std::uint64_t{entries->get()} * spec::VIRTIO_NET_MAC_BYTES;
  if (!airlock_range_within(0, bytes, reader.left())) return false;
  // A table may be too long for us, and then filters nothing. 5.1.6.5.2.
  target.all = entries->get() > NetMacTable::kMost;
  target.count = target.all ? 0 : entries->get();
  if (target.all) {
    reader.at += static_cast<std::uint32_t>(bytes);
    return true;
  }
  for (MacAddress& address : std::span(target.storage).first(target.count)) {
    // NOLINTNEXTLINE(bugprone-unchecked-optional-access): their bytes were counted
    address = *reader.take<MacAddress>();
  }
  return true;
}

CommandKind parse_mac(CommandReader& reader, std::uint8_t command, NetCommand& target) {
  if (command == spec::VIRTIO_NET_CTRL_MAC_TABLE_SET && reader.has(spec::VIRTIO_NET_F_CTRL_RX)) {
    const bool whole = parse_table(reader, target.unicast) && parse_table(reader, target.multicast);
    return whole ? CommandKind::kMacTables : CommandKind::kRefused;
  }
  if (command == spec::VIRTIO_NET_CTRL_MAC_ADDR_SET &&
      reader.has(spec::VIRTIO_NET_F_CTRL_MAC_ADDR)) {
    const auto mac = reader.take<MacAddress>();
    if (!mac) return CommandKind::kRefused;
    target.mac = *mac;
    return CommandKind::kMacAddress;
  }
  return CommandKind::kRefused;
}

CommandKind parse_vlan(CommandReader& reader, std::uint8_t command, NetCommand& target) {
  const auto vlan = reader.take<Le16>();
  if (!reader.has(spec::VIRTIO_NET_F_CTRL_VLAN) || !vlan || vlan->get() >= NetFilter::kVlans) {
    return CommandKind::kRefused;
  }
  target.vlan = vlan->get();
  if (command == spec::VIRTIO_NET_CTRL_VLAN_ADD) return CommandKind::kAddVlan;
  if (command == spec::VIRTIO_NET_CTRL_VLAN_DEL) return CommandKind::kDeleteVlan;
  return CommandKind::kRefused;
}

CommandKind parse_pairs(CommandReader& reader, std::uint8_t command, NetCommand& target) {
  const auto pairs = reader.take<Le16>();
  if (!reader.has(spec::VIRTIO_NET_F_MQ) || command != spec::VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET ||
      !pairs || pairs->get() == 0 || pairs->get() > reader.rules.pairs_max) {
    return CommandKind::kRefused;
  }
  target.pairs = pairs->get();
  return CommandKind::kPairs;
}

CommandKind parse_offloads(CommandReader& reader, std::uint8_t command, NetCommand& target) {
  const auto offloads = reader.take<Le64>();
  if (!reader.has(spec::VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) ||
      command != spec::VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET || !offloads) {
    return CommandKind::kRefused;
  }
  // 5.1.6.5.8.1: none but those that were negotiated; and each has what it requires.
  const std::uint64_t wanted = offloads->get();
  if ((wanted & ~(reader.rules.features & kNetGuestOffloads)) != 0 || !net_features_hold(wanted)) {
    return CommandKind::kRefused;
  }
  target.offloads = wanted;
  return CommandKind::kOffloads;
}

CommandKind parse_known_command(const ring::Chain& chain, const NetCommandRules& rules,
                                NetCommand& target) {
  const auto header = chain.read<spec::VirtioNetCtrlHdr>(0);
  if (!header) return CommandKind::kRefused;
  CommandReader reader{.chain = chain, .rules = rules};
  switch (header->command_class) {
    case spec::VIRTIO_NET_CTRL_RX:
      return parse_switch(reader, header->command, target);
    case spec::VIRTIO_NET_CTRL_MAC:
      return parse_mac(reader, header->command, target);
    case spec::VIRTIO_NET_CTRL_VLAN:
      return parse_vlan(reader, header->command, target);
    case spec::VIRTIO_NET_CTRL_ANNOUNCE:
      return reader.has(spec::VIRTIO_NET_F_GUEST_ANNOUNCE) &&
                     header->command == spec::VIRTIO_NET_CTRL_ANNOUNCE_ACK
                 ? CommandKind::kAnnounced
                 : CommandKind::kRefused;
    case spec::VIRTIO_NET_CTRL_MQ:
      return parse_pairs(reader, header->command, target);
    case spec::VIRTIO_NET_CTRL_GUEST_OFFLOADS:
      return parse_offloads(reader, header->command, target);
    default:
      return CommandKind::kRefused;
  }
}

}  // namespace

Result<void> parse_net_command(const ring::Chain& chain, const NetCommandRules& rules,
                               NetCommand& target) {
  if (chain.writable_bytes() < kAckBytes) {
    return fail({.code = Errc::kTooSmall, .address = kAckBytes});
  }
  target = {};
  target.kind = parse_known_command(chain, rules, target);
  return {};
}

}  // namespace airlock::device
