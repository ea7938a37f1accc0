// SPDX-License-Identifier: Apache-2.0
//
// Goal: whoever reads the log knows which queue, which address, where the device may go, and what
// to do; and a hostile driver can't fill a disk. Method: violations through a device's registers,
// and what it writes to stderr.
#include "pci/violation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "pci/test_device.h"

namespace airlock::pci {
namespace {

using testing::internal::CaptureStderr;
using testing::internal::GetCapturedStderr;

constexpr std::uint64_t kFeatures =
    spec::feature(spec::VIRTIO_F_VERSION_1) | spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM);

QueueSetup guest_queue(std::uint16_t index, std::uint64_t address) {
  return {.index = index,
          .size = 128,
          .descriptor_area = window::DriverAddress{address},
          .driver_area = window::DriverAddress{address + 0x1000},
          .device_area = window::DriverAddress{address + 0x2000}};
}

std::ptrdiff_t lines(const std::string& text) {
  return std::ranges::count(text, '\n');
}

void expect_parts(const std::string& log, std::initializer_list<const char*> parts) {
  EXPECT_EQ(lines(log), 1) << log;
  for (const char* part : parts) {
    EXPECT_NE(log.find(part), std::string::npos) << part << " is not in: " << log;
  }
}

// DEF-2, DEF-5: bit 27 acknowledged, rings in guest memory. One line for all the queues of it.
TEST(ViolationLog, NamesQueueAddressRegionAndTheLegacyMeaningOfBit27) {
  TestDevice device;
  device.place_region(TestDevice::kBusBase);
  ASSERT_TRUE(device.negotiate(kFeatures | spec::feature(spec::VIRTIO_F_SWIOTLB)));
  CaptureStderr();
  EXPECT_FALSE(device.enable_queue(guest_queue(1, 0x1234000)));
  EXPECT_FALSE(device.enable_queue(guest_queue(0, 0x2234000)));
  device.device->report_violation({.code = Errc::kBadIndex, .queue = 0});
  expect_parts(GetCapturedStderr(), {"blk: ", "queue 1", "descriptor area", "0x1234000",
                                     "0x800000000 to 0x800100000", "ANY_LAYOUT", "bit 27"});
  EXPECT_EQ(device.device->violations(), 2U);  // the second enable was not looked at
}

TEST(ViolationLog, AMovedBitIsNotAnyLayout) {
  TestDevice device({.negotiation = {.swiotlb_bit = 43}});
  device.place_region(TestDevice::kBusBase);
  ASSERT_TRUE(device.negotiate(kFeatures | spec::feature(43)));
  CaptureStderr();
  EXPECT_FALSE(device.enable_queue(guest_queue(0, 0x1234000)));
  const std::string log = GetCapturedStderr();
  expect_parts(log, {"VIRTIO_F_SWIOTLB"});
  EXPECT_EQ(log.find("ANY_LAYOUT"), std::string::npos);
}

TEST(ViolationLog, SaysThatTheBarIsNowhere) {
  TestDevice device;
  ASSERT_TRUE(device.negotiate(kFeatures | spec::feature(spec::VIRTIO_F_SWIOTLB)));
  CaptureStderr();
  EXPECT_FALSE(device.enable_queue(guest_queue(0, 0x1234000)));
  expect_parts(GetCapturedStderr(), {"memory decoding is off", "nowhere on the bus"});
}

TEST(ViolationLog, SaysWhatAnOffsetIsNot) {
  TestDevice device({.negotiation = {.offer = AddressOffer::kOffset}});
  ASSERT_TRUE(device.negotiate(kFeatures | spec::feature(spec::VIRTIO_F_DMB)));
  CaptureStderr();
  EXPECT_FALSE(device.enable_queue(guest_queue(0, 0x80000000)));
  expect_parts(GetCapturedStderr(), {"VIRTIO_F_DMB", "offsets 0x1 to 0x100000"});
  device.set_status(0);
  ASSERT_TRUE(device.negotiate(kFeatures | spec::feature(spec::VIRTIO_F_DMB)));
  CaptureStderr();
  EXPECT_FALSE(device.enable_queue(guest_queue(0, 0)));
  expect_parts(GetCapturedStderr(), {"offset 0 stands for"});
}

// GEN-DV1, BASE-5: declined under require.
TEST(ViolationLog, SaysThatTheDriverHasNoSupport) {
  TestDevice device;
  CaptureStderr();
  EXPECT_FALSE(device.negotiate(kFeatures));
  expect_parts(GetCapturedStderr(),
               {"FEATURES_OK withheld", "no SWIOTLB or DMB support", "--dma=require", "bit 27"});
  CaptureStderr();
  EXPECT_FALSE(device.enable_queue(guest_queue(0, 0x1000)));  // it goes on all the same
  expect_parts(GetCapturedStderr(), {"queue 0", "queue_enable", "no SWIOTLB or DMB support"});
}

TEST(ViolationLog, SaysWhatAVmmHasToShare) {
  TestDevice device({.negotiation = {.policy = DmaPolicy::kOpen}});
  ASSERT_TRUE(device.negotiate(kFeatures));
  CaptureStderr();
  EXPECT_FALSE(device.enable_queue(guest_queue(0, 0x1234000)));
  expect_parts(GetCapturedStderr(), {"0x1234000", "share=on"});
}

TEST(ViolationLog, EveryRefusalHasItsReason) {
  const Negotiation rules = MUST(Negotiation::create({}));
  for (const Refusal why : {Refusal::kNotOffered, Refusal::kNoVersion1, Refusal::kNoRegion,
                            Refusal::kNoAccessPlatform, Refusal::kByModel}) {
    const std::string text = describe_refusal(
        {.code = Errc::kFeaturesRefused, .detail = std::to_underlying(why)}, 1, 2, rules);
    EXPECT_EQ(text.find('?'), std::string::npos) << text;
    EXPECT_EQ(lines(text), 0);
  }
}

// A driver that breaks rules and resets, for ever, gets a few lines and no more.
TEST(ViolationLog, IsLimited) {
  TestDevice device;
  device.place_region(TestDevice::kBusBase);
  CaptureStderr();
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(device.negotiate(kFeatures | spec::feature(spec::VIRTIO_F_SWIOTLB)));
    EXPECT_FALSE(device.enable_queue(guest_queue(0, 0x1234000)));
    device.set_status(0);
  }
  EXPECT_LT(lines(GetCapturedStderr()), 50);
  EXPECT_EQ(device.device->violations(), 200U);
}

}  // namespace
}  // namespace airlock::pci
