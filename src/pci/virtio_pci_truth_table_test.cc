// SPDX-License-Identifier: Apache-2.0
//
// Goal: the negotiation truth table of REQUIREMENTS 1.6, row by row, in both address modes and
// under the three policies. Method: a driver's register accesses, as it would make them, and what
// the device then reaches: the region's two ends, and memory that is the guest's.
#include <gtest/gtest.h>

#include <algorithm>

#include "pci/test_device.h"

namespace airlock::pci {
namespace {

constexpr std::uint64_t kVersion = spec::feature(spec::VIRTIO_F_VERSION_1);
constexpr std::uint64_t kPlatform = spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM);
constexpr std::uint64_t kGuestAddress = 0x4000'0000;
constexpr std::uint64_t kGuestBytes = 0x10000;
constexpr DmaPolicy kPolicies[] = {DmaPolicy::kRequire, DmaPolicy::kPrefer, DmaPolicy::kOpen};

class TruthTable : public testing::TestWithParam<AddressOffer> {
 protected:
  [[nodiscard]] static AddressOffer offer() { return GetParam(); }
  [[nodiscard]] static std::uint64_t region_bit() {
    return spec::feature(offer() == AddressOffer::kBus ? spec::VIRTIO_F_SWIOTLB
                                                       : spec::VIRTIO_F_DMB);
  }
  static VirtioPciDevice::Options options(DmaPolicy policy) {
    return {.negotiation = {.policy = policy, .offer = offer()}};
  }
  /// The region as the driver finds it.
  static std::optional<BarRange> region_of(TestDevice& device) {
    const auto found = MUST(find_capabilities(device, device.bar_sizes()));
    if (offer() == AddressOffer::kBus) return found.swiotlb;
    const auto id = device.read<std::uint16_t>(kRegistersBar,
                                               offsetof(spec::VirtioPciCommonCfgDmb, dmb_shm_id));
    return found.common->length > offsetof(spec::VirtioPciCommonCfgDmb, dmb_shm_id)
               ? found.find_region(static_cast<std::uint8_t>(id))
               : std::nullopt;
  }
  static QueueSetup guest_queue() {
    return {.index = 0,
            .size = 256,
            .descriptor_area = window::DriverAddress{kGuestAddress},
            .driver_area = window::DriverAddress{kGuestAddress + 0x1000},
            .device_area = window::DriverAddress{kGuestAddress + 0x2000}};
  }
  /// Memory of the guest that the VMM shared.
  static void share_guest_memory(TestDevice& device) {
    const auto guest = MUST(shm::SealedMemfd::create({.size = kGuestBytes}));
    MUST(device.window.guest_memory().map(
        {.address = window::BusAddress{kGuestAddress}, .size = kGuestBytes}, guest.fd()));
  }
};

// Row 1: no region, no bit: an ordinary device.
TEST_P(TruthTable, Row1NoRegionNoBit) {
  TestDevice device(options(DmaPolicy::kOpen));
  share_guest_memory(device);
  EXPECT_EQ(region_of(device), std::nullopt);
  EXPECT_EQ(device.device->region_info(kRegionBar).size, 0U);
  EXPECT_EQ(device.offered() &
                (spec::feature(spec::VIRTIO_F_SWIOTLB) | spec::feature(spec::VIRTIO_F_DMB)),
            0U);
  ASSERT_TRUE(device.negotiate(kVersion | kPlatform));
  ASSERT_TRUE(device.enable_queue(guest_queue()));
  device.driver_ok();
  EXPECT_EQ(device.model.starts.size(), 1U);
}

// Rows 2 and 3: the bit without the region breaks GEN-DV2 and DMB-D1, the region without the bit
// PCI-D1. No policy makes a device that shows one without the other.
TEST_P(TruthTable, Rows2And3AreNeverGenerated) {
  for (const DmaPolicy policy : kPolicies) {
    TestDevice device(options(policy));
    const bool offered = (device.offered() & region_bit()) != 0;
    EXPECT_EQ(region_of(device).has_value(), offered);
    EXPECT_EQ(device.device->region_info(kRegionBar).mappable &&
                  device.device->region_info(kRegionBar).size != 0,
              offered);
    EXPECT_EQ(offered, policy != DmaPolicy::kOpen);
  }
}

// Row 2, the driver's half: a device that did not offer the bit does not take it.
TEST_P(TruthTable, Row2AcceptingWhatWasNotOfferedIsRefused) {
  TestDevice device(options(DmaPolicy::kOpen));
  EXPECT_FALSE(device.negotiate(kVersion | kPlatform | region_bit()));
  EXPECT_EQ(device.device->refusals(), 1U);
}

// Row 4: region, offered, accepted: the region only (GEN-DR2, DMB-D6), outside is rejected (DEF-5,
// DMB-D7), though the VMM shared guest memory.
TEST_P(TruthTable, Row4AcceptedReachesTheRegionOnly) {
  for (const DmaPolicy policy : {DmaPolicy::kRequire, DmaPolicy::kPrefer}) {
    TestDevice device(options(policy));
    share_guest_memory(device);
    device.place_region(TestDevice::kBusBase);
    ASSERT_TRUE(region_of(device));
    ASSERT_TRUE(device.negotiate(kVersion | kPlatform | region_bit()));
    EXPECT_EQ(device.device->negotiated().reach, window::Reach::kRegion);
    ASSERT_TRUE(device.enable_queue(device.good_queue(0)));
    device.driver_ok();
    ASSERT_EQ(device.model.starts.size(), 1U);
    EXPECT_TRUE(device.device->running());
    EXPECT_EQ(device.status() & spec::VIRTIO_CONFIG_S_NEEDS_RESET, 0);
  }
}

// Row 4, the rejecting twin. DEF-8: under a hint too, accepted means all, and mixing is refused.
TEST_P(TruthTable, Row4AcceptedAndThenGuestMemory) {
  for (const DmaPolicy policy : {DmaPolicy::kRequire, DmaPolicy::kPrefer}) {
    TestDevice device(options(policy));
    share_guest_memory(device);
    device.place_region(TestDevice::kBusBase);
    ASSERT_TRUE(device.negotiate(kVersion | kPlatform | region_bit()));
    EXPECT_FALSE(device.enable_queue(guest_queue()));
    EXPECT_NE(device.status() & spec::VIRTIO_CONFIG_S_NEEDS_RESET, 0);
    device.driver_ok();
    EXPECT_TRUE(device.model.starts.empty());
  }
}

// Row 5: region, offered, declined. Mandatory: FEATURES_OK is withheld (GEN-DV1, DMB-D9, BASE-5).
TEST_P(TruthTable, Row5DeclinedUnderRequireIsRefused) {
  TestDevice device(options(DmaPolicy::kRequire));
  share_guest_memory(device);
  EXPECT_FALSE(device.negotiate(kVersion | kPlatform));
  EXPECT_EQ(device.device->refusals(), 1U);
  EXPECT_EQ(device.window.reach(), window::Reach::kNothing);
  EXPECT_FALSE(device.enable_queue(guest_queue()));
  device.driver_ok();
  EXPECT_EQ(device.status() & spec::VIRTIO_CONFIG_S_DRIVER_OK, 0);
  EXPECT_TRUE(device.model.starts.empty());
  // The same driver may try again, and accept.
  device.set_status(0);
  device.place_region(TestDevice::kBusBase);
  EXPECT_TRUE(device.negotiate(kVersion | kPlatform | region_bit()));
}

// Row 5 as a hint: it is served over the memory that the VMM shared, and over no other.
TEST_P(TruthTable, Row5DeclinedUnderPreferIsServedOverSharedMemory) {
  TestDevice device(options(DmaPolicy::kPrefer));
  share_guest_memory(device);
  ASSERT_TRUE(device.negotiate(kVersion));
  EXPECT_EQ(device.device->negotiated().mode, window::AddressMode::kBus);
  ASSERT_TRUE(device.enable_queue(guest_queue()));
  device.driver_ok();
  EXPECT_EQ(device.model.starts.size(), 1U);
}

TEST_P(TruthTable, Row5DeclinedUnderPreferWithoutSharedMemoryBreaks) {
  TestDevice device(options(DmaPolicy::kPrefer));
  ASSERT_TRUE(device.negotiate(kVersion));
  EXPECT_FALSE(device.enable_queue(guest_queue()));
  EXPECT_NE(device.status() & spec::VIRTIO_CONFIG_S_NEEDS_RESET, 0);
}

// Row 5, "SHOULD still use region": PCI-DR1, a driver that declined may place its rings there.
TEST_P(TruthTable, Row5DeclinedUnderPreferMayUseTheRegionByBusAddress) {
  TestDevice device(options(DmaPolicy::kPrefer));
  device.place_region(TestDevice::kBusBase);
  ASSERT_TRUE(device.negotiate(kVersion));
  EXPECT_TRUE(device.enable_queue(device.good_queue(0)));
}

// DEF-2: a legacy driver acknowledges bit 27 as ANY_LAYOUT, without VERSION_1. Not a yes to the
// region, under no policy.
TEST_P(TruthTable, AnyLayoutIsNoConsent) {
  for (const DmaPolicy policy : kPolicies) {
    TestDevice device(options(policy));
    EXPECT_FALSE(device.negotiate(spec::feature(spec::VIRTIO_F_ANY_LAYOUT)));
    EXPECT_EQ(device.window.reach(), window::Reach::kNothing);
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, TruthTable,
                         testing::Values(AddressOffer::kBus, AddressOffer::kOffset),
                         [](const auto& mode) {
                           return mode.param == AddressOffer::kBus ? "Bus" : "Offset";
                         });

// DMB-D2, DMB-DR1: VIRTIO_F_DMB without ACCESS_PLATFORM is refused; VIRTIO_F_SWIOTLB is not.
TEST(TruthTableDmb, NeedsAccessPlatform) {
  TestDevice dmb({.negotiation = {.offer = AddressOffer::kOffset}});
  EXPECT_FALSE(dmb.negotiate(kVersion | spec::feature(spec::VIRTIO_F_DMB)));
  TestDevice bus({.negotiation = {.offer = AddressOffer::kBus}});
  EXPECT_TRUE(bus.negotiate(kVersion | spec::feature(spec::VIRTIO_F_SWIOTLB)));
}

}  // namespace
}  // namespace airlock::pci
