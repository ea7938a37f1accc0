// SPDX-License-Identifier: Apache-2.0
//
// Goal: each check of what a device shows and offers, capabilities, region and features, notices
// the device that breaks its rule. Method: as in conformance_test.cc, where the honest devices are.
#include <gtest/gtest.h>

#include <memory>
#include <tuple>

#include "testing/conformance_fixture.h"

namespace airlock::driver::conformance {
namespace {

using pci::AddressOffer;

TEST_F(ConformanceTest, NoticesACapabilityThatLeavesItsBar) {  // BASE-1
  lie_in_config(capability(spec::VIRTIO_PCI_CAP_ISR_CFG) + offsetof(spec::VirtioPciCap, length) + 3,
                0x80);
  expect_fail("BASE-1", "ISR");
}

TEST_F(ConformanceTest, NoticesAListThatLoops) {
  lie_in_config(capability(spec::VIRTIO_PCI_CAP_COMMON_CFG) + 1,
                static_cast<std::uint8_t>(capability(spec::VIRTIO_PCI_CAP_COMMON_CFG)));
  expect_fail("VIRTIO-4.1.1/capability-list", "loops");
  EXPECT_EQ(run("VIRTIO-2.4.1/reset").verdict, Verdict::kSkip);
}

TEST_F(ConformanceTest, NoticesAnOddNotifyMultiplier) {  // VIRTIO 1.3, 4.1.4.4.1
  lie_in_config(capability(spec::VIRTIO_PCI_CAP_NOTIFY_CFG) +
                    offsetof(spec::VirtioPciNotifyCap, notify_off_multiplier),
                3);
  expect_fail("VIRTIO-4.1.4.4.1/capability", "multiplier 3");
}

TEST_F(ConformanceTest, NoticesARegionBeyondItsBar) {  // PCI-D2
  lie_in_config(capability(spec::VIRTIO_PCI_CAP_SWIOTLB) + offsetof(spec::VirtioPciCap, length) + 2,
                0x11);
  expect_fail("PCI-D2", "in BAR 2");
}

TEST_F(ConformanceTest, NoticesARegionThatIsNotWholePages) {  // DEF-4
  lie_in_config(capability(spec::VIRTIO_PCI_CAP_SWIOTLB) + offsetof(spec::VirtioPciCap, offset),
                0x10);
  expect_fail("DEF-4/alignment", "0x10");
}

TEST_F(ConformanceTest, NoticesABitWithoutARegion) {  // GEN-DV2, PCI-D1
  const std::size_t at = capability(spec::VIRTIO_PCI_CAP_SWIOTLB);
  lie_in_config(at + offsetof(spec::VirtioPciCap, cfg_type), 0x40);
  expect_fail("GEN-DV2", "without a region");
  lies_.on_config_read = {};
  lie_about_offer(0, spec::feature(spec::VIRTIO_F_SWIOTLB));
  expect_fail("PCI-D1", "not offered");
}

TEST_F(ConformanceTest, NoticesADmbWithoutSharedMemory) {  // DMB-D1
  make({.offer = AddressOffer::kOffset});
  expect_pass("DMB-D1");
  lie_in_config(
      capability(spec::VIRTIO_PCI_CAP_SHARED_MEMORY_CFG) + offsetof(spec::VirtioPciCap, cfg_type),
      0x40);
  expect_fail("DMB-D1", "no shared memory");
}

// DMB-D5; VIRTIO 1.3, 5.7.5, 5.11.6.4: a GPU's id 1 and a file system's id 0 are something else.
TEST_F(ConformanceTest, NoticesAnIdThatItsDeviceTypeDefines) {
  make({.offer = AddressOffer::kOffset});
  for (const auto& [device_id, taken, free] : {std::tuple{0x50, 1, 2}, std::tuple{0x5a, 0, 1}}) {
    lie_in_config(spec::PCI_DEVICE_ID, static_cast<std::uint8_t>(device_id));
    lie(offsetof(spec::VirtioPciCommonCfgDmb, dmb_shm_id), static_cast<std::uint64_t>(taken));
    expect_fail("DMB-D5", "the device type's");
    lie(offsetof(spec::VirtioPciCommonCfgDmb, dmb_shm_id), static_cast<std::uint64_t>(free));
    expect_pass("DMB-D5");
  }
}

TEST_F(ConformanceTest, NoticesARegionThatMoves) {  // DMB-D10
  expect_pass("DMB-D10");
  const std::size_t at = capability(spec::VIRTIO_PCI_CAP_SWIOTLB);
  auto dumps = std::make_shared<unsigned>(0);
  lies_.on_config_read = [at, dumps](std::uint16_t from, std::span<std::byte> target) {
    if (from != 0 || target.size() < at + sizeof(spec::VirtioPciCap)) return;
    if (++*dumps > 1) target[at + offsetof(spec::VirtioPciCap, offset) + 1] = std::byte{0x10};
  };
  expect_fail("DMB-D10", "changed");
}

TEST_F(ConformanceTest, NoticesADmbIdThatNamesNoRegion) {  // DMB-D4
  make({.offer = AddressOffer::kOffset});
  lie(offsetof(spec::VirtioPciCommonCfgDmb, dmb_shm_id), 77);
  expect_fail("DMB-D4", "0 regions have the id 77");
}

TEST_F(ConformanceTest, NoticesADmbWithoutAccessPlatform) {  // DMB-D2
  make({.offer = AddressOffer::kOffset});
  lie_about_offer(0, spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM));
  expect_fail("DMB-D2", "ACCESS_PLATFORM");
}

TEST_F(ConformanceTest, NoticesFeaturesBeyondTheSecondWord) {
  lies_.on_write = [this](const Register& to, std::uint64_t value) {
    if (is_common(to, offsetof(Cfg, device_feature_select))) select_ = value;
    return false;
  };
  lies_.on_read = [this](const Register& from, std::uint64_t& read) {
    if (is_common(from, offsetof(Cfg, device_feature)) && select_ == 3) read = 1;
  };
  expect_fail("VIRTIO-4.1.4.3.1/feature-words", "word 3");
}

TEST_F(ConformanceTest, NoticesAnOfferWithoutVersion1) {  // VIRTIO 1.3, 6.2
  lie_about_offer(0, spec::feature(spec::VIRTIO_F_VERSION_1));
  expect_fail("VIRTIO-6.2/version-1", "not offered");
}

TEST_F(ConformanceTest, NoticesAFeatureWithoutWhatItNeeds) {  // BASE-3; VIRTIO 1.3, 5.2.5.2
  lie_about_offer(spec::feature(spec::VIRTIO_BLK_F_CONFIG_WCE),
                  spec::feature(spec::VIRTIO_BLK_F_FLUSH));
  expect_fail("BASE-3", "bit 11");
  expect_fail("VIRTIO-5.2.5.2/flush", "CONFIG_WCE");
}

// VIRTIO 1.3, 5.1.3.1: a network device with MQ, without and with the control queue.
TEST_F(ConformanceTest, NoticesANetworkFeatureWithoutWhatItNeeds) {
  constexpr std::uint64_t kMq = spec::feature(22);
  constexpr std::uint64_t kControlQueue = spec::feature(17);
  disk().own_features = 0;
  lie_in_config(spec::PCI_DEVICE_ID, 0x40 + spec::VIRTIO_ID_NET);
  lie_about_offer(kMq, kControlQueue);
  expect_fail("BASE-3", "bit 22");
  lie_about_offer(kMq | kControlQueue, 0);
  expect_pass("BASE-3");
}

TEST_F(ConformanceTest, NoticesAnOfferThatChanges) {
  auto reads = std::make_shared<unsigned>(0);
  lies_.on_read = [reads](const Register& from, std::uint64_t& read) {
    if (is_common(from, offsetof(Cfg, device_feature))) read ^= ++*reads > 2 ? 0x40U : 0U;
  };
  expect_fail("VIRTIO-2.2.2/stable", "was");
}

TEST_F(ConformanceTest, NoticesFeaturesOkForWhatIsNotOffered) {  // BASE-5
  lies_.on_read = [](const Register& from, std::uint64_t& read) {
    if (is_common(from, offsetof(Cfg, device_status)) && read != 0) {
      read |= spec::VIRTIO_CONFIG_S_FEATURES_OK;
    }
  };
  expect_fail("VIRTIO-2.2.2/unoffered", "not offered");
  expect_fail("DEF-2/version-1", "ANY_LAYOUT");
}

}  // namespace
}  // namespace airlock::driver::conformance
