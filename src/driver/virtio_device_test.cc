// SPDX-License-Identifier: Apache-2.0
//
// Goal: the driver gives a device its region and nothing else, and no answer of a device, however
// absurd, makes it do otherwise, hang or crash. Method: an honest device in this process, and each
// lie told on top of it, beside the honest twin.
#include "driver/virtio_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "driver/wait.h"
#include "spec/virtio_blk.h"
#include "spec/virtio_pci.h"
#include "testing/fake_disk.h"
#include "testing/fake_transport.h"

namespace airlock::driver {
namespace {

using Cfg = spec::VirtioPciCommonCfg;
using pci::AddressOffer;
using pci::DmaPolicy;
using namespace std::chrono_literals;

constexpr std::uint8_t kAck = spec::VIRTIO_CONFIG_S_ACKNOWLEDGE;
constexpr std::uint8_t kDriver = spec::VIRTIO_CONFIG_S_DRIVER;
constexpr std::uint8_t kFeaturesOk = spec::VIRTIO_CONFIG_S_FEATURES_OK;
constexpr std::uint8_t kDriverOk = spec::VIRTIO_CONFIG_S_DRIVER_OK;
constexpr std::uint8_t kFailed = spec::VIRTIO_CONFIG_S_FAILED;

bool is_common(const Register& where, std::size_t offset) {
  return where.bar == pci::kRegistersBar && where.offset == pci::kCommonOffset + offset;
}

class VirtioDeviceTest : public ::testing::Test {
 protected:
  using Disk = testing::FakeDiskDevice;

  void make(const pci::NegotiationOptions& negotiation = {}) {
    disk_ = std::make_unique<Disk>(Disk::Options{.negotiation = negotiation});
    disk_->disk.own_features = own_features_;
    disk_->disk.queue_sizes = queue_sizes_;
  }
  Result<std::unique_ptr<VirtioDevice>> open(VirtioDevice::Options options = {}) {
    if (!disk_) make();
    options.device_type = type_;
    options.features |= spec::feature(spec::VIRTIO_BLK_F_FLUSH);
    options.timeout = 50ms;
    return VirtioDevice::open(std::make_unique<testing::FakeTransport>(
                                  disk_->device(), disk_->memfd, lies_,
                                  testing::FakeTransport::Options{.interrupts = true}),
                              options);
  }
  Errc open_error(const VirtioDevice::Options& options = {}) {
    auto device = open(options);
    EXPECT_FALSE(device.has_value());
    return device ? Errc::kSystem : device.error().code;
  }
  // The register of this offset reads as `value`, from now on.
  void lie(std::size_t offset, std::uint64_t value) {
    lies_.on_read = [offset, value](const Register& from, std::uint64_t& read) {
      if (is_common(from, offset)) read = value;
    };
  }
  // Bits of the offer read as set, or clear.
  void lie_about_offer(std::uint64_t set, std::uint64_t clear) {
    lies_.on_write = [this](const Register& to, std::uint64_t value) {
      if (is_common(to, offsetof(Cfg, device_feature_select))) word_ = value;
      return false;
    };
    lies_.on_read = [this, set, clear](const Register& from, std::uint64_t& read) {
      if (!is_common(from, offsetof(Cfg, device_feature))) return;
      read = (read | (set >> (32 * word_))) & ~(clear >> (32 * word_)) & 0xffff'ffff;
    };
  }

  std::uint16_t type_ = spec::VIRTIO_ID_BLOCK;
  std::uint64_t own_features_ = spec::feature(spec::VIRTIO_BLK_F_FLUSH) |
                                spec::feature(spec::VIRTIO_BLK_F_MQ) |
                                spec::feature(spec::VIRTIO_F_EVENT_IDX);
  std::vector<std::uint16_t> queue_sizes_{64, 16};
  testing::Lies lies_;
  std::unique_ptr<Disk> disk_;
  std::uint64_t word_ = 0;
};

// GEN-DR1, PCI-DR2: the bit is accepted, and what is published is a bus address in the region.
TEST_F(VirtioDeviceTest, AcceptsTheRegionByBusAddress) {
  const auto device = MUST(open());
  EXPECT_EQ(device->negotiation().source, RegionSource::kSwiotlb);
  EXPECT_TRUE(device->has(spec::VIRTIO_F_SWIOTLB));
  EXPECT_TRUE(device->has(spec::VIRTIO_F_VERSION_1));
  EXPECT_TRUE(device->has(spec::VIRTIO_BLK_F_FLUSH));
  EXPECT_TRUE(device->has(spec::VIRTIO_F_EVENT_IDX));
  EXPECT_FALSE(device->has(spec::VIRTIO_BLK_F_MQ));  // not asked for
  const auto queue = MUST(device->create_queue(0, {.size_max = 256}));
  const auto areas = queue->ring().published_areas();
  const std::uint64_t base = device->negotiation().bus_address;
  EXPECT_GE(std::to_underlying(areas.descriptors), base + pool::kPageBytes);
  EXPECT_TRUE(device->start());
  EXPECT_EQ(disk_->device().status(), kAck | kDriver | kFeaturesOk | kDriverOk);
  EXPECT_TRUE(disk_->disk.running());
}

TEST_F(VirtioDeviceTest, AcceptsTheRingFeaturesThatAreAllowedAndOffered) {
  own_features_ = spec::feature(spec::VIRTIO_F_EVENT_IDX) | spec::feature(spec::VIRTIO_F_IN_ORDER) |
                  spec::feature(spec::VIRTIO_F_RING_PACKED);
  const auto accepted = [&](std::uint64_t allowed) {
    return MUST(open({.ring_features = allowed}))
    ->negotiation().accepted & kRingFeatures;
  };
  EXPECT_EQ(accepted(0), 0U);
  EXPECT_EQ(accepted(spec::feature(spec::VIRTIO_F_EVENT_IDX)),
            spec::feature(spec::VIRTIO_F_EVENT_IDX));
  EXPECT_EQ(accepted(spec::feature(spec::VIRTIO_F_INDIRECT_DESC)), 0U);  // not on offer
  EXPECT_EQ(accepted(~std::uint64_t{0}), own_features_ | pci::kTransportFeatures);
  EXPECT_EQ(accepted(kRingFeaturesByDefault),
            (own_features_ | pci::kTransportFeatures) &
                ~(spec::feature(spec::VIRTIO_F_IN_ORDER) |
                  spec::feature(spec::VIRTIO_F_NOTIFICATION_DATA)));
}

// DMB-DR1, DMB-DR3: offsets, never 0, with ACCESS_PLATFORM and VERSION_1.
TEST_F(VirtioDeviceTest, AcceptsTheRegionByOffset) {
  make({.offer = AddressOffer::kOffset});
  const auto device = MUST(open());
  EXPECT_EQ(device->negotiation().source, RegionSource::kDmb);
  EXPECT_TRUE(device->has(spec::VIRTIO_F_DMB));
  EXPECT_TRUE(device->has(spec::VIRTIO_F_ACCESS_PLATFORM));
  EXPECT_FALSE(device->has(spec::VIRTIO_F_SWIOTLB));
  const auto queue = MUST(device->create_queue(0, {.size_max = 256}));
  const auto areas = queue->ring().published_areas();
  EXPECT_GE(std::to_underlying(areas.descriptors), pool::kPageBytes);
  EXPECT_LT(std::to_underlying(areas.device), disk_->mapping.bytes().size());
  EXPECT_TRUE(device->start());
}

// PCI-DR1: the capability without the bit is a hint, and taken.
TEST_F(VirtioDeviceTest, TakesTheCapabilityAloneAsAHint) {
  make({.policy = DmaPolicy::kPrefer});
  lie_about_offer(0, spec::feature(spec::VIRTIO_F_SWIOTLB));
  const auto device = MUST(open());
  EXPECT_EQ(device->negotiation().source, RegionSource::kCapability);
  EXPECT_FALSE(device->has(spec::VIRTIO_F_SWIOTLB));
}

// Row by row of REQUIREMENTS 1.6: without a region there is nothing to drive the device with.
TEST_F(VirtioDeviceTest, RefusesADeviceWithoutARegion) {
  make({.policy = DmaPolicy::kOpen});
  EXPECT_EQ(open_error(), Errc::kNoRegion);
  EXPECT_NE(disk_->device().status() & kFailed, 0);
}

// GEN-DV2, DEF-3: a bit without a capability is no offer, and never leads to system memory.
TEST_F(VirtioDeviceTest, TreatsABitWithoutACapabilityAsNotOffered) {
  make({.policy = DmaPolicy::kOpen});
  lie_about_offer(spec::feature(spec::VIRTIO_F_SWIOTLB), 0);
  EXPECT_EQ(open_error(), Errc::kNoRegion);
  lie_about_offer(spec::feature(spec::VIRTIO_F_DMB) | spec::feature(33), 0);
  EXPECT_EQ(open_error(), Errc::kNoRegion);
}

// PCI-D2, DEF-4: bar 6, a length of no pages and a region beyond its BAR are no capability.
TEST_F(VirtioDeviceTest, TreatsAMalformedCapabilityAsNone) {
  const auto with = [&](std::size_t field, std::uint32_t value, std::size_t size) {
    lies_.on_config_read = [=](std::uint16_t /*offset*/, std::span<std::byte> target) {
      if (target.size() < sizeof(spec::VirtioPciCap)) return;
      if (target[3] != std::byte{spec::VIRTIO_PCI_CAP_SWIOTLB}) return;
      std::memcpy(target.data() + field, &value, size);
    };
    const Errc error = open_error();
    lies_ = {};
    return error;
  };
  EXPECT_EQ(with(offsetof(spec::VirtioPciCap, bar), 6, 1), Errc::kNoRegion);
  EXPECT_EQ(with(offsetof(spec::VirtioPciCap, length), 8, 4), Errc::kNoRegion);
  EXPECT_EQ(with(offsetof(spec::VirtioPciCap, offset), 4096, 4), Errc::kNoRegion);
  EXPECT_EQ(with(offsetof(spec::VirtioPciCap, offset), 0xffff'f000, 4), Errc::kNoRegion);
  EXPECT_TRUE(open().has_value());
}

// DMB-DR1: bit 44 without bit 33 is not to be accepted.
TEST_F(VirtioDeviceTest, DeclinesDmbWithoutAccessPlatform) {
  make({.offer = AddressOffer::kOffset});
  lie_about_offer(0, spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM));
  EXPECT_EQ(open_error(), Errc::kNoRegion);
}

// DMB-DR1: ORDER_PLATFORM is accepted if offered, and not otherwise.
TEST_F(VirtioDeviceTest, AcceptsOrderPlatformOnlyIfOffered) {
  EXPECT_FALSE(MUST(open())->has(spec::VIRTIO_F_ORDER_PLATFORM));
  std::uint64_t accepted = 0;
  lie_about_offer(spec::feature(spec::VIRTIO_F_ORDER_PLATFORM), 0);
  const auto select = lies_.on_write;
  lies_.on_write = [&, select](const Register& to, std::uint64_t value) {
    if (is_common(to, offsetof(Cfg, driver_feature))) accepted = value;  // the last word wins
    return select(to, value);
  };
  (void)open();
  EXPECT_NE(accepted & (spec::feature(spec::VIRTIO_F_ORDER_PLATFORM) >> 32), 0U);
}

// DMB-DR2, DMB-D4: the id is read after FEATURES_OK only, and must name a region that is there.
TEST_F(VirtioDeviceTest, LocatesTheRegionOnlyAfterFeaturesOk) {
  make({.offer = AddressOffer::kOffset});
  constexpr std::size_t kShmId = offsetof(spec::VirtioPciCommonCfgDmb, dmb_shm_id);
  bool seen = false;
  lies_.on_read = [&](const Register& from, std::uint64_t& /*value*/) {
    if (!is_common(from, kShmId)) return;
    seen = true;
    EXPECT_NE(disk_->device().status() & kFeaturesOk, 0);
  };
  EXPECT_TRUE(open().has_value());
  EXPECT_TRUE(seen);
  lie(kShmId, 7);
  EXPECT_EQ(open_error(), Errc::kNoRegion);
  EXPECT_NE(disk_->device().status() & kFailed, 0);
  lie(kShmId, 256 + 128);
  EXPECT_EQ(open_error(), Errc::kMalformed);
}

TEST_F(VirtioDeviceTest, FailsWhereTheRegionCannotBeMapped) {
  lies_.map_error = Error{.code = Errc::kUnsealed};
  EXPECT_EQ(open_error(), Errc::kUnsealed);
  EXPECT_NE(disk_->device().status() & kFailed, 0);
}

// HD-16: the offer is read once; one that changes afterwards is a lie.
TEST_F(VirtioDeviceTest, RefusesAnOfferThatChanges) {
  int reads = 0;
  lies_.on_read = [&](const Register& from, std::uint64_t& value) {
    if (is_common(from, offsetof(Cfg, device_feature)) && ++reads > 2) value ^= 1;
  };
  EXPECT_EQ(open_error(), Errc::kMalformed);
  EXPECT_EQ(reads, 4);
}

// HD-24: FEATURES_OK is read back.
TEST_F(VirtioDeviceTest, BelievesFeaturesOkOnlyWhenItReadsBack) {
  lies_.on_read = [](const Register& from, std::uint64_t& value) {
    if (is_common(from, offsetof(Cfg, device_status))) value &= ~std::uint64_t{kFeaturesOk};
  };
  EXPECT_EQ(open_error(), Errc::kFeaturesRefused);
  EXPECT_NE(disk_->device().status() & kFailed, 0);
}

TEST_F(VirtioDeviceTest, RefusesWithoutVersion1) {
  lie_about_offer(0, spec::feature(spec::VIRTIO_F_VERSION_1));
  EXPECT_EQ(open_error(), Errc::kUnsupported);
}

// HD-19: a device that never resets, or is gone (all ones), costs the deadline and no more.
TEST_F(VirtioDeviceTest, WaitsForAResetNoLongerThanItsDeadline) {
  const auto start = std::chrono::steady_clock::now();
  lie(offsetof(Cfg, device_status), kAck);
  EXPECT_EQ(open_error(), Errc::kTimeout);
  lie(offsetof(Cfg, device_status), 0xff);
  EXPECT_EQ(open_error(), Errc::kTimeout);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
}

TEST_F(VirtioDeviceTest, WaitsForASlowReset) {
  int reads = 0;
  lies_.on_read = [&](const Register& from, std::uint64_t& value) {
    if (is_common(from, offsetof(Cfg, device_status)) && ++reads < 20) value = kAck;
  };
  EXPECT_TRUE(open().has_value());
}

TEST_F(VirtioDeviceTest, RefusesAnotherDeviceAndATransitionalOne) {
  type_ = spec::VIRTIO_ID_NET;
  EXPECT_EQ(open_error(), Errc::kNotVirtio);
  type_ = spec::VIRTIO_ID_BLOCK;
  lies_.on_config_read = [](std::uint16_t offset, std::span<std::byte> target) {
    const Le16 transitional(0x1001);  // DEF-2: bit 27 means something else there
    if (offset == 0 && target.size() == 4) std::memcpy(target.data() + 2, &transitional, 2);
  };
  EXPECT_EQ(open_error(), Errc::kNotVirtio);
}

// HD-15: a list that comes back on itself ends.
TEST_F(VirtioDeviceTest, SurvivesACapabilityLoop) {
  lies_.on_config_read = [](std::uint16_t offset, std::span<std::byte> target) {
    if (offset < 0x40 || target.size() < 2) return;
    target[1] = std::byte{0x40};
  };
  EXPECT_FALSE(open().has_value());
}

// HD-14: no queues at all, or sizes that are none.
TEST_F(VirtioDeviceTest, RefusesImpossibleQueues) {
  lie(offsetof(Cfg, num_queues), 0);
  EXPECT_EQ(open_error(), Errc::kMalformed);
  for (const std::uint64_t size : {0U, 3U, 48U, 0xffffU}) {
    lies_ = {};
    const auto device = MUST(open());
    lie(offsetof(Cfg, queue_size), size);
    EXPECT_EQ(
        device->create_queue(0, {.size_max = 256}).error(),
        (Error{
            .code = Errc::kBadQueueSize, .queue = 0, .detail = static_cast<std::uint32_t>(size)}));
    EXPECT_NE(disk_->device().status() & kFailed, 0);
    EXPECT_EQ(device->create_queue(1, {.size_max = 256}).error().code,
              Errc::kBadQueueSize);  // broken for good
  }
  lies_ = {};
  const auto device = MUST(open());
  EXPECT_EQ(device->create_queue(2, {.size_max = 256}).error().code, Errc::kBadIndex);
  EXPECT_EQ(MUST(device->create_queue(0, {.size_max = 256}))->ring().size().value(), 64U);
  EXPECT_EQ(MUST(device->create_queue(1, {.size_max = 8}))->ring().size().value(), 8U);
}

// HD-14: queue_notify_off times the multiplier leads into the structure, or nowhere.
TEST_F(VirtioDeviceTest, RefusesANotifyAddressOutsideItsStructure) {
  auto device = MUST(open());
  lie(offsetof(Cfg, queue_notify_off), 0x3ff);  // the last one: 0x3ff * 4 + 4 <= 0x1000
  EXPECT_TRUE(device->create_queue(0, {.size_max = 16}).has_value());
  device.reset();
  lies_ = {};
  device = MUST(open());
  lie(offsetof(Cfg, queue_notify_off), 0x400);
  EXPECT_EQ(device->create_queue(0, {.size_max = 16}).error().code, Errc::kOutOfRange);
  device.reset();
  lies_ = {};
  device = MUST(open());
  lie(offsetof(Cfg, queue_notify_off), 0xffff);
  EXPECT_EQ(device->create_queue(0, {.size_max = 16}).error().code, Errc::kOutOfRange);
}

TEST_F(VirtioDeviceTest, RefusesAQueueThatDoesNotKeepWhatIsWritten) {
  auto device = MUST(open());
  lies_.on_write = [](const Register& to, std::uint64_t) {
    return is_common(to, offsetof(Cfg, queue_size));
  };
  EXPECT_EQ(device->create_queue(0, {.size_max = 16}).error().code, Errc::kMalformed);
  device.reset();
  lies_ = {};
  device = MUST(open());
  lies_.on_write = [](const Register& to, std::uint64_t) {
    return is_common(to, offsetof(Cfg, queue_enable));
  };
  EXPECT_EQ(device->create_queue(0, {.size_max = 16}).error().code, Errc::kMalformed);
}

// HD-23: the device may have the queue although it says that it has not.
TEST_F(VirtioDeviceTest, KeepsTheMemoryOfAQueueThatItCouldNotMakeUntilAReset) {
  auto device = MUST(open());
  const std::uint64_t before = device->pool().stats().used;
  lie(offsetof(Cfg, queue_enable), 0);
  EXPECT_EQ(device->create_queue(0, {.size_max = 16}).error().code, Errc::kMalformed);
  EXPECT_GT(device->pool().stats().used, before);
  lies_ = {};
  ASSERT_TRUE(device->quiesce());
  EXPECT_EQ(device->pool().stats().used, before);
}

// HD-12: read once, under the generation counter, with an end to the retries.
TEST_F(VirtioDeviceTest, ReadsTheConfigurationAsOneSnapshot) {
  auto device = MUST(open());
  const std::array<std::uint8_t, 3> widths{4, 4, 4};
  std::array<std::byte, 12> image{};
  int changes = 3;
  std::uint64_t generation = 0;
  lies_.on_read = [&](const Register& from, std::uint64_t& value) {
    if (!is_common(from, offsetof(Cfg, config_generation))) return;
    if (changes > 0) generation++;
    changes--;
    value = generation & 0xff;
  };
  EXPECT_EQ(MUST(device->read_device_config(image, widths)), 12U);
  EXPECT_EQ(image[1], std::byte{0x08});  // 2048 sectors

  lies_.on_read = [&](const Register& from, std::uint64_t& value) {
    if (is_common(from, offsetof(Cfg, config_generation))) value = generation++ & 0xff;
  };
  EXPECT_EQ(device->read_device_config(image, widths).error().code, Errc::kTimeout);
  EXPECT_NE(disk_->device().status() & kFailed, 0);
}

TEST_F(VirtioDeviceTest, ReadsNoMoreConfigurationThanThereIs) {
  const auto device = MUST(open());
  std::vector<std::uint8_t> widths(20, 4);
  std::array<std::byte, 80> image{};
  image.fill(std::byte{0xee});
  EXPECT_EQ(MUST(device->read_device_config(image, widths)), 60U);
  EXPECT_TRUE(
      std::all_of(image.begin() + 60, image.end(), [](std::byte b) { return b == std::byte{0}; }));
}

// A device that can't even be asked is of no use to anybody, and not to one queue alone.
TEST_F(VirtioDeviceTest, ADeviceThatCannotBeAskedIsBroken) {
  auto device = MUST(open());
  EXPECT_TRUE(device->start());
  lies_.read_error = Error{.code = Errc::kTimeout};
  EXPECT_EQ(device->check().error().code, Errc::kTimeout);
  EXPECT_EQ(device->broken()->code, Errc::kTimeout);
  lies_.read_error.reset();
  EXPECT_EQ(device->check().error().code, Errc::kTimeout);
}

// HD-24: NEEDS_RESET may appear at any time, and so may the end of the device.
TEST_F(VirtioDeviceTest, NoticesADeviceInNeedAndOneThatIsGone) {
  auto device = MUST(open());
  const auto queue = MUST(device->create_queue(0, {.size_max = 16}));
  EXPECT_TRUE(device->start());
  EXPECT_TRUE(device->check());
  disk_->device().report_violation({.code = Errc::kBadIndex});
  EXPECT_EQ(device->check().error().code, Errc::kNeedsReset);
  EXPECT_EQ(device->broken()->code, Errc::kNeedsReset);
  EXPECT_EQ(device->check().error().code, Errc::kNeedsReset);
  ASSERT_TRUE(device->quiesce());
  lie(offsetof(Cfg, device_status), 0xff);
  EXPECT_FALSE(device->revive().has_value());
}

// HD-25, DMB-DR6: after a reset the same again, and only the same.
TEST_F(VirtioDeviceTest, RevivesTheSameDeviceAndNoOther) {
  auto device = MUST(open());
  auto queue = MUST(device->create_queue(0, {.size_max = 16}));
  EXPECT_TRUE(device->start());
  EXPECT_EQ(device->fail_device({.code = Errc::kBadLength}).error().code, Errc::kBadLength);
  queue.reset();
  ASSERT_TRUE(device->quiesce());
  EXPECT_EQ(disk_->device().status(), 0);
  ASSERT_TRUE(device->revive());
  EXPECT_FALSE(device->broken());
  queue = MUST(device->create_queue(0, {.size_max = 16}));
  EXPECT_TRUE(device->start());
  queue.reset();

  ASSERT_TRUE(device->quiesce());
  lies_.on_config_read = [](std::uint16_t /*offset*/, std::span<std::byte> target) {
    if (target.size() < sizeof(spec::VirtioPciCap)) return;
    if (target[3] != std::byte{spec::VIRTIO_PCI_CAP_SWIOTLB}) return;
    const Le32 half(512 * 1024);
    std::memcpy(target.data() + offsetof(spec::VirtioPciCap, length), &half, sizeof half);
  };
  EXPECT_EQ(device->revive().error().code, Errc::kMalformed);
  lies_ = {};
  ASSERT_TRUE(device->quiesce());
  lie_about_offer(spec::feature(spec::VIRTIO_BLK_F_SEG_MAX), 0);
  EXPECT_EQ(device->revive().error().code, Errc::kMalformed);
  lies_ = {};
  ASSERT_TRUE(device->quiesce());
  lie(offsetof(Cfg, num_queues), 1);  // it had two
  EXPECT_EQ(device->revive().error().code, Errc::kMalformed);
  EXPECT_TRUE(device->broken());
}

// HD-23: whoever finds out, all hear of it: as long as it is true, and however many look.
TEST_F(VirtioDeviceTest, ShowsByAFileDescriptorThatItIsBroken) {
  const auto device = MUST(open());
  const std::array<int, 1> fds{device->broken_fd()};
  const auto readable = [&] { return wait_readable(fds, Deadline::after(0ms)); };
  EXPECT_FALSE(readable());
  (void)device->fail_device({.code = Errc::kBadLength});
  EXPECT_TRUE(readable());
  EXPECT_TRUE(readable());
  ASSERT_TRUE(device->quiesce());
  EXPECT_TRUE(readable());
  ASSERT_TRUE(device->revive());
  EXPECT_FALSE(readable());
}

// HD-17: an interrupt before DRIVER_OK is an eventfd that nobody looks at.
TEST_F(VirtioDeviceTest, IgnoresInterruptsBeforeItStarts) {
  auto device = MUST(open());
  ASSERT_TRUE(device->enable_interrupts(1));
  EXPECT_EQ(device->vectors(), 2);
  for (std::uint16_t i = 0; i < 3; i++)
    disk_->device().vectors().fire(i);
  const auto queue = MUST(device->create_queue(0, {.size_max = 16}));
  EXPECT_EQ(queue->vector(), 1);
  EXPECT_TRUE(device->start());
  EXPECT_TRUE(device->transport().take_interrupt(1));
  EXPECT_FALSE(device->transport().take_interrupt(1));
  EXPECT_FALSE(MUST(queue->ring().poll()).has_value());  // HD-20
}

TEST_F(VirtioDeviceTest, UsesNoMoreOfALargeRegionThanItWantsTo) {
  const auto device = MUST(open({.max_region_bytes = 131072}));
  EXPECT_EQ(device->pool().region().size(), 131072U);
  EXPECT_EQ(device->negotiation().region.length, 1U << 20);
}

}  // namespace
}  // namespace airlock::driver
