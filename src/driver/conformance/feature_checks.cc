// SPDX-License-Identifier: Apache-2.0
//
// What is offered, and what FEATURES_OK says to a choice. VIRTIO 1.3, 2.2, 6; REQUIREMENTS 1.6.
#include <algorithm>

#include <fmt/core.h>

#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"
#include "spec/virtio_blk.h"

namespace airlock::driver::conformance {

namespace {

constexpr std::uint64_t bit_mask(std::initializer_list<unsigned> bits) {
  std::uint64_t mask = 0;
  for (const unsigned bit : bits)
    mask |= spec::feature(bit);
  return mask;
}

/// A feature of a device type (0: of any) that needs one of `needs`.
struct Dependency {
  std::uint16_t type;
  unsigned bit;
  std::uint64_t needs;
};
constexpr std::uint16_t kTypeNet = spec::VIRTIO_ID_NET;
// VIRTIO 1.3, 5.1.3.1, 5.2.5.2; DMB-D2 has a check of its own.
constexpr Dependency kDependencies[] = {
    {.type = spec::VIRTIO_ID_BLOCK,
     .bit = spec::VIRTIO_BLK_F_CONFIG_WCE,
     .needs = bit_mask({spec::VIRTIO_BLK_F_FLUSH})},
    {.type = kTypeNet, .bit = 7, .needs = bit_mask({1})},     // GUEST_TSO4: GUEST_CSUM
    {.type = kTypeNet, .bit = 8, .needs = bit_mask({1})},     // GUEST_TSO6: GUEST_CSUM
    {.type = kTypeNet, .bit = 9, .needs = bit_mask({7, 8})},  // GUEST_ECN: GUEST_TSO4 or GUEST_TSO6
    {.type = kTypeNet, .bit = 10, .needs = bit_mask({1})},    // GUEST_UFO: GUEST_CSUM
    {.type = kTypeNet, .bit = 11, .needs = bit_mask({0})},    // HOST_TSO4: CSUM
    {.type = kTypeNet, .bit = 12, .needs = bit_mask({0})},    // HOST_TSO6: CSUM
    {.type = kTypeNet, .bit = 13, .needs = bit_mask({11, 12})},  // HOST_ECN: HOST_TSO4 or HOST_TSO6
    {.type = kTypeNet, .bit = 14, .needs = bit_mask({0})},       // HOST_UFO: CSUM
    {.type = kTypeNet, .bit = 18, .needs = bit_mask({17})},      // CTRL_RX: CTRL_VQ
    {.type = kTypeNet, .bit = 19, .needs = bit_mask({17})},      // CTRL_VLAN: CTRL_VQ
    {.type = kTypeNet, .bit = 21, .needs = bit_mask({17})},      // GUEST_ANNOUNCE: CTRL_VQ
    {.type = kTypeNet, .bit = 22, .needs = bit_mask({17})},      // MQ: CTRL_VQ
    {.type = kTypeNet, .bit = 23, .needs = bit_mask({17})},      // CTRL_MAC_ADDR: CTRL_VQ
};

/// Bits without a meaning for a modern device: reserved ones, and what only legacy devices have.
constexpr std::uint64_t kNoMeaning = bit_mask({24, 25, 26, 30, 31});
constexpr std::uint64_t kBlkNoMeaning = bit_mask({0, 3, 7, 8, 18, 19, 20, 21, 22, 23});

Result<Finding> check_version_1(CheckContext& ctx) {
  return ctx.offers(spec::VIRTIO_F_VERSION_1) ? passed() : failed("it is not offered");
}

Result<Finding> check_dependencies(CheckContext& ctx) {
  for (const Dependency& one : kDependencies) {
    if (one.type != ctx.device_type() || !ctx.offers(one.bit)) continue;
    if ((ctx.offered() & one.needs) == 0) {
      return failed(fmt::format("bit {} is offered, and none of {:#x}", one.bit, one.needs));
    }
  }
  return passed();
}

Result<Finding> check_no_reserved_bits(CheckContext& ctx) {
  std::uint64_t wrong = kNoMeaning;
  if (ctx.device_type() == spec::VIRTIO_ID_BLOCK) wrong |= kBlkNoMeaning;
  wrong &= ctx.offered();
  return wrong == 0 ? passed() : failed(fmt::format("{:#x} is offered", wrong));
}

Result<Finding> check_offer_is_stable(CheckContext& ctx) {
  for (int round = 0; round < 2; ++round) {
    const std::uint64_t now = TRY(ctx.common().offered_features());
    if (now != ctx.offered()) {
      return failed(fmt::format("{:#x} is offered, {:#x} was", now, ctx.offered()));
    }
    TRY(ctx.reset());
  }
  return passed();
}

Result<Finding> check_unoffered(CheckContext& ctx) {
  for (unsigned bit = 0; bit < 64; ++bit) {
    if (ctx.offers(bit)) continue;
    // Devices that mask what they did not offer never see it; the others must say no.
    if (!TRY(ctx.negotiate(ctx.own_features() | spec::feature(bit)))) continue;
    TRY(ctx.put(offsetof(spec::VirtioPciCommonCfg, driver_feature_select), bit / 32));
    const auto word =
        TRY(ctx.get<std::uint32_t>(offsetof(spec::VirtioPciCommonCfg, driver_feature)));
    if ((word >> (bit % 32) & 1) != 0) {
      return failed(fmt::format("FEATURES_OK with bit {}, which is not offered", bit));
    }
  }
  return passed();
}

Result<Finding> check_own_choice(CheckContext& ctx) {
  const bool agreed = TRY(ctx.negotiate(ctx.own_features()));
  const auto text = fmt::format("{:#x} of {:#x}", ctx.own_features(), ctx.offered());
  return agreed ? passed(text) : failed(text + " is refused");
}

Result<Finding> check_whole_offer(CheckContext& ctx) {
  // The two kinds of addresses exclude each other.
  std::uint64_t all = ctx.offered();
  if (ctx.region_kind() == RegionKind::kSwiotlb) all &= ~spec::feature(spec::VIRTIO_F_DMB);
  const bool agreed = TRY(ctx.negotiate(all));
  return agreed ? passed() : failed(fmt::format("{:#x} is refused", all));
}

Result<Finding> check_without_version_1(CheckContext& ctx) {
  if (ctx.region_feature() == 0) return skipped("the device offers no region");
  const std::uint64_t legacy = ctx.own_features() & ~spec::feature(spec::VIRTIO_F_VERSION_1);
  if (TRY(ctx.negotiate(legacy))) {
    return failed("FEATURES_OK for the region's bit without VERSION_1: that is ANY_LAYOUT");
  }
  return passed();
}

/// REQUIREMENTS 1.6, the last row: both answers are right, and which it is, is worth knowing.
template <RegionKind kKind>
Result<Finding> check_declined(CheckContext& ctx) {
  if (ctx.region_kind() != kKind) {
    return skipped(kKind == RegionKind::kDmb ? "the device does not offer VIRTIO_F_DMB"
                                             : "the device does not offer VIRTIO_F_SWIOTLB");
  }
  const bool agreed = TRY(ctx.negotiate(ctx.own_features() & ~ctx.region_feature()));
  return passed(agreed ? "declined: it goes on without the region"
                       : "declined: FEATURES_OK is withheld, the region is required");
}

Result<Finding> check_dmb_needs_platform(CheckContext& ctx) {
  if (ctx.region_kind() != RegionKind::kDmb) return skipped("the device offers no VIRTIO_F_DMB");
  const std::uint64_t without = ctx.own_features() & ~spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM);
  return TRY(ctx.negotiate(without))
  ? failed("FEATURES_OK for VIRTIO_F_DMB alone") : passed();
}

Result<Finding> check_refusal_is_final(CheckContext& ctx) {
  std::uint64_t bad = 0;
  for (unsigned bit = 0; bit < 64 && bad == 0; ++bit) {
    if (!ctx.offers(bit)) bad = spec::feature(bit);
  }
  if (bad == 0) return skipped("every bit is offered");
  (void)TRY(ctx.negotiate(ctx.own_features() | bad));
  const bool agreed = TRY(ctx.negotiate(ctx.own_features()));
  return agreed ? passed() : failed("after a refusal and a reset it refuses a valid choice");
}

constexpr Check kFeatureChecks[] = {
    {"VIRTIO-6.2/version-1", "VIRTIO_F_VERSION_1 is offered", Needs::kRegisters, check_version_1},
    {"BASE-3", "what an offered feature needs is offered", Needs::kRegisters, check_dependencies},
    {"VIRTIO-2.2.2/reserved", "no bit without a meaning is offered", Needs::kRegisters,
     check_no_reserved_bits},
    {"VIRTIO-2.2.2/stable", "the offer is the same at every look", Needs::kRegisters,
     check_offer_is_stable},
    {"VIRTIO-2.2.2/unoffered", "FEATURES_OK is withheld for each bit that is not offered",
     Needs::kRegisters, check_unoffered},
    {"VIRTIO-2.2.2/subset", "a small valid choice is accepted", Needs::kRegisters,
     check_own_choice},
    {"VIRTIO-2.2.2/all", "all that is offered can be accepted", Needs::kRegisters,
     check_whole_offer},
    {"BASE-5", "a refusal is over with the next reset", Needs::kRegisters, check_refusal_is_final},
    {"DEF-2/version-1", "the region's bit counts only with VERSION_1", Needs::kRegisters,
     check_without_version_1},
    {"GEN-DV1", "a driver that declines VIRTIO_F_SWIOTLB gets an answer", Needs::kRegisters,
     check_declined<RegionKind::kSwiotlb>},
    {"DMB-D9", "a driver that declines VIRTIO_F_DMB gets an answer", Needs::kRegisters,
     check_declined<RegionKind::kDmb>},
    {"DMB-DR1", "VIRTIO_F_DMB without ACCESS_PLATFORM is refused", Needs::kRegisters,
     check_dmb_needs_platform},
};

}  // namespace

std::span<const Check> feature_checks() {
  return kFeatureChecks;
}

}  // namespace airlock::driver::conformance
