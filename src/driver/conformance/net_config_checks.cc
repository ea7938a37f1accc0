// SPDX-License-Identifier: Apache-2.0
//
// What a network card offers, and its configuration: VIRTIO 1.3, 5.1.2 to 5.1.4.
#include <algorithm>

#include <fmt/core.h>

#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"
#include "spec/virtio_net.h"

namespace airlock::driver::conformance {

namespace {

using NetCfg = spec::VirtioNetConfig;

Finding no_net_card() {
  return skipped("the device is no network card");
}

bool is_net_card(const CheckContext& ctx) {
  return ctx.device_type() == spec::VIRTIO_ID_NET;
}

/// A feature, and those of which it requires one: VIRTIO 1.3, 5.1.3.1.
struct NetDependency {
  unsigned feature;
  std::uint64_t any_of;
  const char* name;
};

constexpr std::uint64_t kGuestTso =
    spec::feature(spec::VIRTIO_NET_F_GUEST_TSO4) | spec::feature(spec::VIRTIO_NET_F_GUEST_TSO6);
constexpr std::uint64_t kHostTso =
    spec::feature(spec::VIRTIO_NET_F_HOST_TSO4) | spec::feature(spec::VIRTIO_NET_F_HOST_TSO6);
constexpr std::uint64_t kGuestCsum = spec::feature(spec::VIRTIO_NET_F_GUEST_CSUM);
constexpr std::uint64_t kHostCsum = spec::feature(spec::VIRTIO_NET_F_CSUM);
constexpr std::uint64_t kNetControl = spec::feature(spec::VIRTIO_NET_F_CTRL_VQ);

constexpr NetDependency kNetDependencies[] = {
    {.feature = spec::VIRTIO_NET_F_GUEST_TSO4, .any_of = kGuestCsum, .name = "GUEST_TSO4"},
    {.feature = spec::VIRTIO_NET_F_GUEST_TSO6, .any_of = kGuestCsum, .name = "GUEST_TSO6"},
    {.feature = spec::VIRTIO_NET_F_GUEST_ECN, .any_of = kGuestTso, .name = "GUEST_ECN"},
    {.feature = spec::VIRTIO_NET_F_GUEST_UFO, .any_of = kGuestCsum, .name = "GUEST_UFO"},
    {.feature = spec::VIRTIO_NET_F_GUEST_USO4, .any_of = kGuestCsum, .name = "GUEST_USO4"},
    {.feature = spec::VIRTIO_NET_F_GUEST_USO6, .any_of = kGuestCsum, .name = "GUEST_USO6"},
    {.feature = spec::VIRTIO_NET_F_HOST_TSO4, .any_of = kHostCsum, .name = "HOST_TSO4"},
    {.feature = spec::VIRTIO_NET_F_HOST_TSO6, .any_of = kHostCsum, .name = "HOST_TSO6"},
    {.feature = spec::VIRTIO_NET_F_HOST_ECN, .any_of = kHostTso, .name = "HOST_ECN"},
    {.feature = spec::VIRTIO_NET_F_HOST_UFO, .any_of = kHostCsum, .name = "HOST_UFO"},
    {.feature = spec::VIRTIO_NET_F_HOST_USO, .any_of = kHostCsum, .name = "HOST_USO"},
    {.feature = spec::VIRTIO_NET_F_CTRL_RX, .any_of = kNetControl, .name = "CTRL_RX"},
    {.feature = spec::VIRTIO_NET_F_CTRL_VLAN, .any_of = kNetControl, .name = "CTRL_VLAN"},
    {.feature = spec::VIRTIO_NET_F_GUEST_ANNOUNCE, .any_of = kNetControl, .name = "GUEST_ANNOUNCE"},
    {.feature = spec::VIRTIO_NET_F_MQ, .any_of = kNetControl, .name = "MQ"},
    {.feature = spec::VIRTIO_NET_F_CTRL_MAC_ADDR, .any_of = kNetControl, .name = "CTRL_MAC_ADDR"},
    {.feature = spec::VIRTIO_NET_F_RSC_EXT, .any_of = kGuestTso, .name = "RSC_EXT"},
    {.feature = spec::VIRTIO_NET_F_RSS, .any_of = kNetControl, .name = "RSS"},
};

Result<Finding> check_net_dependencies(CheckContext& ctx) {
  if (!is_net_card(ctx)) return no_net_card();
  for (const NetDependency& one : kNetDependencies) {
    if (ctx.offers(one.feature) && (ctx.offered() & one.any_of) == 0) {
      return failed(fmt::format("{} is offered, and nothing of what it requires", one.name));
    }
  }
  return passed();
}

Result<Finding> check_net_mac(CheckContext& ctx) {
  if (!is_net_card(ctx)) return no_net_card();
  if (!ctx.offers(spec::VIRTIO_NET_F_MAC)) return skipped("MAC is not offered");
  std::string text;
  std::uint64_t all = 0;
  for (std::size_t i = 0; i < spec::VIRTIO_NET_MAC_BYTES; ++i) {
    const std::uint64_t byte = TRY(ctx.device_config(offsetof(NetCfg, mac) + i, Width::k1));
    text += fmt::format("{}{:02x}", i == 0 ? "" : ":", byte);
    all = all << 8U | byte;
  }
  constexpr std::uint64_t kGroup = std::uint64_t{1} << 40;
  const bool station = all != 0 && (all & kGroup) == 0;
  return station ? passed(text) : failed(text + " is no station's address");
}

Result<Finding> check_net_mtu(CheckContext& ctx) {
  if (!is_net_card(ctx)) return no_net_card();
  if (!ctx.offers(spec::VIRTIO_NET_F_MTU)) return skipped("MTU is not offered");
  const std::uint64_t mtu = TRY(ctx.device_config(offsetof(NetCfg, mtu), Width::k2));
  const std::string text = fmt::format("{} bytes", mtu);
  return mtu >= spec::VIRTIO_NET_MTU_MIN ? passed(text) : failed(text);
}

Result<Finding> check_net_pairs(CheckContext& ctx) {
  if (!is_net_card(ctx)) return no_net_card();
  const std::uint16_t there = TRY(ctx.common().queue_count());
  const bool control = ctx.offers(spec::VIRTIO_NET_F_CTRL_VQ);
  std::uint64_t pairs = 1;
  if (ctx.offers(spec::VIRTIO_NET_F_MQ)) {
    pairs = TRY(ctx.device_config(offsetof(NetCfg, max_virtqueue_pairs), Width::k2));
    if (pairs == 0 || pairs > spec::VIRTIO_NET_VQ_PAIRS_MAX) {
      return failed(fmt::format("{} pairs", pairs));
    }
  }
  const std::uint64_t needed = 2 * pairs + (control ? 1 : 0);
  const std::string text = fmt::format("{} pairs, {} queues", pairs, there);
  return needed <= there ? passed(text) : failed(text + ", too few");
}

Result<Finding> check_net_status(CheckContext& ctx) {
  if (!is_net_card(ctx)) return no_net_card();
  if (!ctx.offers(spec::VIRTIO_NET_F_STATUS)) return skipped("STATUS is not offered");
  const std::uint64_t status = TRY(ctx.device_config(offsetof(NetCfg, status), Width::k2));
  constexpr std::uint64_t kKnown = spec::VIRTIO_NET_S_LINK_UP | spec::VIRTIO_NET_S_ANNOUNCE;
  if ((status & ~kKnown) != 0) return failed(fmt::format("status {:#x}", status));
  const bool announce = (status & spec::VIRTIO_NET_S_ANNOUNCE) != 0;
  if (announce && !ctx.offers(spec::VIRTIO_NET_F_GUEST_ANNOUNCE)) {
    return failed("ANNOUNCE without GUEST_ANNOUNCE");
  }
  return passed((status & spec::VIRTIO_NET_S_LINK_UP) != 0 ? "up" : "down");
}

/// A driver can write nothing there. VIRTIO 1.3, 5.1.4.
Result<Finding> check_net_config_is_fixed(CheckContext& ctx) {
  const auto& place = ctx.capabilities().device;
  if (!is_net_card(ctx) || !place) return no_net_card();
  const auto before = TRY(ctx.device_config(offsetof(NetCfg, mac), Width::k1));
  TRY(ctx.transport().write({.bar = place->bar, .offset = place->offset, .width = Width::k1},
                            before ^ 2U));
  const auto after = TRY(ctx.device_config(offsetof(NetCfg, mac), Width::k1));
  return before == after ? passed() : failed("the MAC address can be written");
}

constexpr Check kNetConfigChecks[] = {
    {"VIRTIO-5.1.3.1", "net: what an offered feature requires is offered", Needs::kRegisters,
     check_net_dependencies},
    {"VIRTIO-5.1.2", "net: there are as many queues as the configuration says", Needs::kRegisters,
     check_net_pairs},
    {"VIRTIO-5.1.4/mac", "net: the MAC address is a station's", Needs::kRegisters, check_net_mac},
    {"VIRTIO-5.1.4/status", "net: the status has known bits only", Needs::kRegisters,
     check_net_status},
    {"VIRTIO-5.1.4/fixed", "net: a driver can't write the MAC address", Needs::kRegisters,
     check_net_config_is_fixed},
    {"VIRTIO-5.1.4.1/mtu", "net: the MTU is 68 or more", Needs::kRegisters, check_net_mtu},
};

}  // namespace

std::span<const Check> net_config_checks() {
  return kNetConfigChecks;
}

}  // namespace airlock::driver::conformance
