// SPDX-License-Identifier: Apache-2.0
//
// Goal: who gets FEATURES_OK, and what it lets the device touch. Method: the rules as functions,
// each accepted choice beside a refused one; virtio_pci_truth_table_test.cc has the same through
// registers.
#include "pci/negotiation.h"

#include <gtest/gtest.h>

#include <utility>

namespace airlock::pci {
namespace {

using window::AddressMode;
using window::Reach;

constexpr std::uint64_t kVersion = spec::feature(spec::VIRTIO_F_VERSION_1);
constexpr std::uint64_t kPlatform = spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM);
constexpr std::uint64_t kSwiotlb = spec::feature(spec::VIRTIO_F_SWIOTLB);
constexpr std::uint64_t kDmb = spec::feature(spec::VIRTIO_F_DMB);
constexpr std::uint64_t kAlways = kVersion | kPlatform | kTransportFeatures;

Negotiation rules(DmaPolicy policy, AddressOffer offer = AddressOffer::kBus) {
  return MUST(Negotiation::create({.policy = policy, .offer = offer}));
}

Refusal refusal(const Negotiation& rules, std::uint64_t accepted) {
  const auto judged = rules.judge(accepted, rules.offered(0));
  EXPECT_FALSE(judged);
  EXPECT_EQ(judged.error().code, Errc::kFeaturesRefused);
  return static_cast<Refusal>(judged.error().detail);
}

// GEN-DV2, BASE-4, DMB-D2. No ORDER_PLATFORM: both sides are processors that share coherent memory,
// so barriers are those between two of them (BASE-6, DMB-D3).
TEST(Negotiation, OffersTheRegionByPolicyAndMode) {
  EXPECT_EQ(rules(DmaPolicy::kRequire).offered(0), kAlways | kSwiotlb);
  EXPECT_EQ(rules(DmaPolicy::kPrefer).offered(0), kAlways | kSwiotlb);
  EXPECT_EQ(rules(DmaPolicy::kOpen).offered(0), kAlways);
  const auto offset = AddressOffer::kOffset;
  EXPECT_EQ(rules(DmaPolicy::kRequire, offset).offered(0), kAlways | kDmb);
  EXPECT_EQ(rules(DmaPolicy::kOpen, offset).offered(0), kAlways);
}

// What the transport can do about queues is a choice, and nothing else is.
TEST(Negotiation, OffersOfTheTransportWhatItIsToldTo) {
  const auto offer = [](std::uint64_t transport_features) {
    return MUST(Negotiation::create({.transport_features = transport_features}))
    .offered(0);
  };
  EXPECT_EQ(offer(0), kVersion | kPlatform | kSwiotlb);
  const std::uint64_t reset = spec::feature(spec::VIRTIO_F_RING_RESET);
  EXPECT_EQ(offer(reset), kVersion | kPlatform | kSwiotlb | reset);
  EXPECT_EQ(offer(~std::uint64_t{0}), kAlways | kSwiotlb);
}

// DEF-2: a back end's feature set has bit 27 as ANY_LAYOUT; it must not get through as a promise.
// VIRTIO 1.3, 2.2, 6: nor any other bit that is not a device type's. BASE-6: nor ORDER_PLATFORM.
TEST(Negotiation, OffersOfAModelOnlyWhatIsAModelsToOffer) {
  const std::uint64_t all = ~std::uint64_t{0};
  const std::uint64_t open =
      MUST(Negotiation::create({.policy = DmaPolicy::kOpen, .transport_features = 0}))
  .offered(all);
  EXPECT_EQ(open & spec::feature(spec::VIRTIO_F_ANY_LAYOUT), 0U);
  EXPECT_EQ(open & spec::feature(spec::VIRTIO_F_DMB), 0U);
  EXPECT_EQ(open & spec::feature(spec::VIRTIO_F_SR_IOV), 0U);
  EXPECT_EQ(open & spec::feature(spec::VIRTIO_F_ORDER_PLATFORM), 0U);
  EXPECT_EQ(open & spec::feature(spec::VIRTIO_F_NOTIFICATION_DATA), 0U);
  EXPECT_EQ(open & spec::feature(spec::VIRTIO_F_RING_RESET), 0U);
  EXPECT_NE(open & spec::feature(spec::VIRTIO_F_EVENT_IDX), 0U);
  EXPECT_NE(open & spec::feature(5), 0U);
  const std::uint64_t dmb = rules(DmaPolicy::kRequire, AddressOffer::kOffset).offered(all);
  EXPECT_EQ(dmb & spec::feature(spec::VIRTIO_F_ANY_LAYOUT), 0U);
  EXPECT_NE(dmb & kDmb, 0U);
}

// GEN-N1: by bus address without ACCESS_PLATFORM too.
TEST(Negotiation, RegionAcceptedMeansTheRegionAndNothingElse) {
  const auto bus =
      MUST(rules(DmaPolicy::kRequire).judge(kVersion | kSwiotlb, kVersion | kPlatform | kSwiotlb));
  EXPECT_EQ(bus.mode, AddressMode::kBus);
  EXPECT_EQ(bus.reach, Reach::kRegion);
  const Negotiation offset = rules(DmaPolicy::kPrefer, AddressOffer::kOffset);
  const auto dmb = MUST(offset.judge(kVersion | kPlatform | kDmb, offset.offered(0)));
  EXPECT_EQ(dmb.mode, AddressMode::kOffset);
  EXPECT_EQ(dmb.reach, Reach::kRegion);
}

// GEN-DV1, DMB-D9; its twin under kPrefer is served.
TEST(Negotiation, DecliningIsRefusedOrServedByPolicy) {
  EXPECT_EQ(refusal(rules(DmaPolicy::kRequire), kVersion | kPlatform), Refusal::kNoRegion);
  EXPECT_EQ(refusal(rules(DmaPolicy::kRequire, AddressOffer::kOffset), kVersion | kPlatform),
            Refusal::kNoRegion);
  for (const DmaPolicy policy : {DmaPolicy::kPrefer, DmaPolicy::kOpen}) {
    for (const AddressOffer offer : {AddressOffer::kBus, AddressOffer::kOffset}) {
      const Negotiation negotiation = rules(policy, offer);
      const auto judged = MUST(negotiation.judge(kVersion, negotiation.offered(0)));
      EXPECT_EQ(judged.reach, Reach::kRegionAndGuest);
      EXPECT_EQ(judged.mode, AddressMode::kBus);
    }
  }
}

// DEF-2: without VERSION_1, bit 27 is ANY_LAYOUT.
TEST(Negotiation, LegacyDriversAreRefusedUnderEveryPolicy) {
  EXPECT_EQ(refusal(rules(DmaPolicy::kRequire), kSwiotlb), Refusal::kNoVersion1);
  EXPECT_EQ(refusal(rules(DmaPolicy::kPrefer), kSwiotlb), Refusal::kNoVersion1);
  EXPECT_EQ(refusal(rules(DmaPolicy::kOpen), 0), Refusal::kNoVersion1);
}

TEST(Negotiation, AcceptingWhatWasNotOfferedIsRefused) {
  EXPECT_EQ(refusal(rules(DmaPolicy::kPrefer), kVersion | spec::feature(3)), Refusal::kNotOffered);
  EXPECT_EQ(refusal(rules(DmaPolicy::kOpen), kVersion | kSwiotlb), Refusal::kNotOffered);
  EXPECT_EQ(refusal(rules(DmaPolicy::kRequire), kVersion | kSwiotlb | kDmb), Refusal::kNotOffered);
}

// DMB-D2, DMB-DR1. The bus mode's twin is accepted: RegionAcceptedMeansTheRegionAndNothingElse.
TEST(Negotiation, DmbNeedsAccessPlatform) {
  EXPECT_EQ(refusal(rules(DmaPolicy::kRequire, AddressOffer::kOffset), kVersion | kDmb),
            Refusal::kNoAccessPlatform);
}

// DEF-2: the numbers can be moved, but not onto something else.
TEST(Negotiation, TheBitsAreOptions) {
  const auto with = [](unsigned bit) {
    return Negotiation::create({.offer = AddressOffer::kBus, .swiotlb_bit = bit});
  };
  EXPECT_EQ(MUST(with(43)).offered(0), kAlways | spec::feature(43));
  for (const unsigned bit : {0U, 23U, 28U, 29U, 32U, 33U, 34U, 40U, 50U, 63U, 64U, 1000U}) {
    const auto refused = with(bit);
    ASSERT_FALSE(refused) << bit;
    EXPECT_EQ(refused.error().code, Errc::kUnsupported);
    EXPECT_EQ(refused.error().detail, bit);
  }
}

}  // namespace
}  // namespace airlock::pci
