// SPDX-License-Identifier: Apache-2.0
//
// Goal: the registers do what VIRTIO 1.3, 2.1, 3.1 and 4.1 say, whatever a driver writes in
// whatever size. Method: a driver's accesses; each step that is allowed beside one that is not.
#include "pci/virtio_pci_device.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <thread>
#include <vector>

#include "pci/test_device.h"

namespace airlock::pci {
namespace {

constexpr std::uint64_t kFeatures = spec::feature(spec::VIRTIO_F_VERSION_1) |
                                    spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM) |
                                    spec::feature(spec::VIRTIO_F_SWIOTLB);
constexpr std::uint8_t kBegun = spec::VIRTIO_CONFIG_S_ACKNOWLEDGE | spec::VIRTIO_CONFIG_S_DRIVER;
constexpr std::uint64_t kSelect = offsetof(spec::VirtioPciCommonCfg, queue_select);
constexpr std::uint64_t kSize = offsetof(spec::VirtioPciCommonCfg, queue_size);
constexpr std::uint64_t kVector = offsetof(spec::VirtioPciCommonCfg, queue_msix_vector);
constexpr std::uint64_t kConfigVector = offsetof(spec::VirtioPciCommonCfg, config_msix_vector);

class VirtioPciDeviceTest : public testing::Test {
 protected:
  VirtioPciDeviceTest() { device_.place_region(TestDevice::kBusBase); }

  void start() {
    ASSERT_TRUE(device_.negotiate(kFeatures));
    ASSERT_TRUE(device_.enable_queue(device_.good_queue(0)));
    device_.driver_ok();
    ASSERT_TRUE(device_.device->running());
  }
  [[nodiscard]] bool needs_reset() {
    return (device_.status() & spec::VIRTIO_CONFIG_S_NEEDS_RESET) != 0;
  }
  /// An eventfd in a vector's place, of which the test keeps an end.
  EventFd listen(std::uint16_t vector) {
    EventFd event = MUST(EventFd::create());
    Fd copy = MUST(own_fd(dup(event.fd())));
    MUST(device_.device->vectors().install(vector, std::move(event)));
    return MUST(EventFd::adopt(std::move(copy)));
  }

  TestDevice device_;
};

// --- status. VIRTIO 1.3, 2.1.1, 3.1.1 ---

TEST_F(VirtioPciDeviceTest, FollowsTheInitialisationSequence) {
  EXPECT_EQ(device_.status(), 0);
  start();
  EXPECT_EQ(device_.status(), 0x0f);
  ASSERT_EQ(device_.model.queues.size(), 1U);
  EXPECT_EQ(device_.model.queues[0].index, 0);
  EXPECT_EQ(device_.model.queues[0].size, 256);
  EXPECT_EQ(device_.model.starts[0].features, kFeatures);
  EXPECT_EQ(device_.model.starts[0].reach, window::Reach::kRegion);
}

TEST_F(VirtioPciDeviceTest, StatusBitsGoAwayOnlyByReset) {
  start();
  device_.set_status(spec::VIRTIO_CONFIG_S_ACKNOWLEDGE);
  EXPECT_EQ(device_.status(), 0x0f);
  device_.set_status(0);
  EXPECT_EQ(device_.status(), 0);
}

TEST_F(VirtioPciDeviceTest, DriverCanNotSetNeedsResetNorUnknownBits) {
  device_.set_status(spec::VIRTIO_CONFIG_S_NEEDS_RESET | 0x30 | spec::VIRTIO_CONFIG_S_ACKNOWLEDGE);
  EXPECT_EQ(device_.status(), spec::VIRTIO_CONFIG_S_ACKNOWLEDGE);
}

TEST_F(VirtioPciDeviceTest, FeaturesOkNeedsADriver) {
  device_.accept(kFeatures);
  device_.set_status(spec::VIRTIO_CONFIG_S_FEATURES_OK);
  EXPECT_EQ(device_.status(), 0);
  device_.set_status(kBegun | spec::VIRTIO_CONFIG_S_FEATURES_OK);
  EXPECT_EQ(device_.status(), kBegun | spec::VIRTIO_CONFIG_S_FEATURES_OK);
}

TEST_F(VirtioPciDeviceTest, DriverOkNeedsFeaturesOkThatWasReadBack) {
  device_.accept(kFeatures);
  device_.set_status(kBegun | spec::VIRTIO_CONFIG_S_DRIVER_OK);
  EXPECT_EQ(device_.status(), kBegun);
  device_.set_status(kBegun | spec::VIRTIO_CONFIG_S_FEATURES_OK | spec::VIRTIO_CONFIG_S_DRIVER_OK);
  EXPECT_EQ(device_.status(), kBegun | spec::VIRTIO_CONFIG_S_FEATURES_OK);
  EXPECT_TRUE(device_.model.starts.empty());
  device_.driver_ok();
  EXPECT_EQ(device_.model.starts.size(), 1U);
}

TEST_F(VirtioPciDeviceTest, AFailedDriverIsNotStarted) {
  ASSERT_TRUE(device_.negotiate(kFeatures));
  device_.set_status(kBegun | spec::VIRTIO_CONFIG_S_FEATURES_OK | spec::VIRTIO_CONFIG_S_FAILED);
  device_.driver_ok();
  EXPECT_TRUE(device_.model.starts.empty());
  device_.set_status(0);
  start();
}

TEST_F(VirtioPciDeviceTest, FeaturesAreSettledByFeaturesOk) {
  ASSERT_TRUE(device_.negotiate(kFeatures));
  device_.accept(kFeatures | spec::feature(spec::VIRTIO_F_EVENT_IDX));
  device_.write<std::uint32_t>(kRegistersBar, 0x08, 0);
  EXPECT_EQ(device_.read<std::uint32_t>(kRegistersBar, 0x0c),
            static_cast<std::uint32_t>(kFeatures));
  device_.driver_ok();
  EXPECT_EQ(device_.model.starts.at(0).features, kFeatures);
}

// BASE-2, BASE-5: also what is beyond the 64 bits that are offered.
TEST_F(VirtioPciDeviceTest, FeatureBitsBeyond64AreRefused) {
  device_.write<std::uint32_t>(kRegistersBar, 0x08, 2);
  device_.write<std::uint32_t>(kRegistersBar, 0x0c, 1);
  EXPECT_FALSE(device_.negotiate(kFeatures));
  device_.write<std::uint32_t>(kRegistersBar, 0x08, 2);
  device_.write<std::uint32_t>(kRegistersBar, 0x0c, 0);
  EXPECT_TRUE(device_.negotiate(kFeatures));
}

TEST_F(VirtioPciDeviceTest, FeatureSelectsBeyondWhatThereIsReadZero) {
  for (const std::uint32_t select : {2U, 3U, 4U, 0xffffffffU}) {
    device_.write<std::uint32_t>(kRegistersBar, 0x00, select);
    EXPECT_EQ(device_.read<std::uint32_t>(kRegistersBar, 0x04), 0U);
    device_.write<std::uint32_t>(kRegistersBar, 0x08, select);
    EXPECT_EQ(device_.read<std::uint32_t>(kRegistersBar, 0x0c), 0U);
  }
}

TEST_F(VirtioPciDeviceTest, TheModelMayRefuseAChoiceOfFeatures) {
  device_.model.refused_features = spec::feature(spec::VIRTIO_F_EVENT_IDX);
  EXPECT_FALSE(device_.negotiate(kFeatures | spec::feature(spec::VIRTIO_F_EVENT_IDX)));
  device_.set_status(0);
  EXPECT_TRUE(device_.negotiate(kFeatures));
}

TEST_F(VirtioPciDeviceTest, AModelThatCanNotStartNeedsAReset) {
  device_.model.start_error = Error{.code = Errc::kBadQueueSize, .queue = 0, .detail = 256};
  ASSERT_TRUE(device_.negotiate(kFeatures));
  device_.driver_ok();
  EXPECT_FALSE(device_.device->running());
  EXPECT_TRUE(needs_reset());
  device_.set_status(0);  // nothing runs, so nothing is stopped
  EXPECT_EQ(device_.model.stops, 0U);
  EXPECT_EQ(device_.status(), 0);
}

// --- queues. VIRTIO 1.3, 4.1.4.3 ---

TEST_F(VirtioPciDeviceTest, QueuesThatDoNotExistReadAsSizeZero) {
  EXPECT_EQ(device_.read<std::uint16_t>(kRegistersBar, 0x12), 2);
  for (const std::uint16_t queue : std::initializer_list<std::uint16_t>{2, 500, 0xffff}) {
    device_.select(queue);
    EXPECT_EQ(device_.read<std::uint16_t>(kRegistersBar, kSize), 0);
    device_.write<std::uint16_t>(kRegistersBar, kSize, 16);
    device_.write<std::uint16_t>(kRegistersBar, kVector, 0);
    EXPECT_EQ(device_.read<std::uint16_t>(kRegistersBar, kSize), 0);
    EXPECT_EQ(device_.read<std::uint16_t>(kRegistersBar, kVector), spec::VIRTIO_MSI_NO_VECTOR);
  }
  device_.select(1);
  EXPECT_EQ(device_.read<std::uint16_t>(kRegistersBar, kSize), 128);
  EXPECT_EQ(device_.read<std::uint16_t>(kRegistersBar, 0x1e), 1);  // queue_notify_off
}

TEST_F(VirtioPciDeviceTest, RegistersOfAnEnabledQueueDoNotChange) {
  ASSERT_TRUE(device_.negotiate(kFeatures));
  ASSERT_TRUE(device_.enable_queue(device_.good_queue(0)));
  const auto before = device_.read<std::uint64_t>(kRegistersBar, 0x20);
  device_.write<std::uint16_t>(kRegistersBar, kSize, 16);
  device_.write<std::uint64_t>(kRegistersBar, 0x20, 0x1234);
  device_.write<std::uint16_t>(kRegistersBar, 0x1c, 0);
  EXPECT_EQ(device_.read<std::uint16_t>(kRegistersBar, kSize), 256);
  EXPECT_EQ(device_.read<std::uint64_t>(kRegistersBar, 0x20), before);
  EXPECT_TRUE(device_.enabled(0));
  // The vector may: VIRTIO 1.3, 4.1.5.1.2.
  device_.write<std::uint16_t>(kRegistersBar, kVector, 1);
  EXPECT_EQ(device_.read<std::uint16_t>(kRegistersBar, kVector), 1);
}

TEST_F(VirtioPciDeviceTest, EnablesOnlyQueuesOfAnAllowedSize) {
  for (const std::uint16_t size : std::initializer_list<std::uint16_t>{0, 3, 255, 512, 0xffff}) {
    device_.set_status(0);
    ASSERT_TRUE(device_.negotiate(kFeatures));
    QueueSetup queue = device_.good_queue(0);
    queue.size = size;
    EXPECT_FALSE(device_.enable_queue(queue)) << size;
    EXPECT_TRUE(needs_reset());
  }
  device_.set_status(0);
  ASSERT_TRUE(device_.negotiate(kFeatures));
  QueueSetup queue = device_.good_queue(0);
  queue.size = 1;
  EXPECT_TRUE(device_.enable_queue(queue));
}

// VIRTIO 1.3, 2.8.10.1: a packed ring's size need not be a power of two.
TEST(VirtioPciDevicePacked, SizeNeedNotBeAPowerOfTwo) {
  auto model = std::make_unique<RecordingModel>();
  model->own_features = spec::feature(spec::VIRTIO_F_RING_PACKED);
  TestDevice device(VirtioPciDevice::Options{}, std::move(model));
  device.place_region(TestDevice::kBusBase);
  ASSERT_TRUE(device.negotiate(kFeatures | spec::feature(spec::VIRTIO_F_RING_PACKED)));
  QueueSetup queue = device.good_queue(0);
  queue.size = 100;
  EXPECT_TRUE(device.enable_queue(queue));
  queue = device.good_queue(1);
  queue.size = 129;
  EXPECT_FALSE(device.enable_queue(queue));
}

// GEN-DR2, DEF-5; VIRTIO 1.3, 2.7: each area inside the region, whole, and aligned.
TEST_F(VirtioPciDeviceTest, EachAreaHasToBeInsideAndAligned) {
  using Area = window::DriverAddress QueueSetup::*;
  const std::uint64_t end = TestDevice::kBusBase + TestDevice::kRegionSize;
  const auto refused = [&](Area area, std::uint64_t address) {
    device_.set_status(0);
    EXPECT_TRUE(device_.negotiate(kFeatures));
    QueueSetup queue = device_.good_queue(0);
    queue.*area = window::DriverAddress{address};
    return !device_.enable_queue(queue) && needs_reset();
  };
  for (const Area area :
       {&QueueSetup::descriptor_area, &QueueSetup::driver_area, &QueueSetup::device_area}) {
    EXPECT_TRUE(refused(area, 0));
    EXPECT_TRUE(refused(area, 0x1000));
    EXPECT_TRUE(refused(area, TestDevice::kBusBase - 16));
    EXPECT_TRUE(refused(area, end - 16));
    EXPECT_TRUE(refused(area, end));
    EXPECT_TRUE(refused(area, ~std::uint64_t{0} - 15));
    EXPECT_TRUE(refused(area, TestDevice::kBusBase + 0x1001));
    EXPECT_FALSE(refused(area, TestDevice::kBusBase + 0x8000));
  }
  EXPECT_TRUE(refused(&QueueSetup::descriptor_area, TestDevice::kBusBase + 0x1008));
  EXPECT_TRUE(refused(&QueueSetup::device_area, TestDevice::kBusBase + 0x1002));
  EXPECT_FALSE(refused(&QueueSetup::driver_area, TestDevice::kBusBase + 0x8002));
  // Exactly up to the end: 256 descriptors are 4096 bytes.
  EXPECT_FALSE(refused(&QueueSetup::descriptor_area, end - 4096));
}

TEST_F(VirtioPciDeviceTest, EnablingBeforeFeaturesOkIsAViolation) {
  device_.set_status(kBegun);
  EXPECT_FALSE(device_.enable_queue(device_.good_queue(0)));
  EXPECT_TRUE(needs_reset());
}

TEST_F(VirtioPciDeviceTest, EnablingAfterDriverOkDoesNothing) {
  start();
  EXPECT_FALSE(device_.enable_queue(device_.good_queue(1)));
  EXPECT_FALSE(needs_reset());
  EXPECT_EQ(device_.model.queues.size(), 1U);
}

// VIRTIO 1.3, 4.1.5.1.2.1.
TEST_F(VirtioPciDeviceTest, VectorsThatDoNotExistReadBackAsNone) {
  device_.select(0);
  for (const std::uint64_t reg : {kVector, kConfigVector}) {
    EXPECT_EQ(device_.read<std::uint16_t>(kRegistersBar, reg), spec::VIRTIO_MSI_NO_VECTOR);
    device_.write<std::uint16_t>(kRegistersBar, reg, 2);
    EXPECT_EQ(device_.read<std::uint16_t>(kRegistersBar, reg), 2);
    device_.write<std::uint16_t>(kRegistersBar, reg, 3);  // there are 0, 1 and 2
    EXPECT_EQ(device_.read<std::uint16_t>(kRegistersBar, reg), spec::VIRTIO_MSI_NO_VECTOR);
  }
}

// --- notifications and interrupts ---

TEST_F(VirtioPciDeviceTest, NotifiesEnabledQueuesOfARunningDevice) {
  device_.write<std::uint16_t>(kRegistersBar, kNotifyOffset, 0);
  start();
  EXPECT_TRUE(device_.model.notified.empty());
  device_.write<std::uint16_t>(kRegistersBar, kNotifyOffset, 0);
  device_.write<std::uint32_t>(kRegistersBar, kNotifyOffset, 0);
  device_.write<std::uint16_t>(kRegistersBar, kNotifyOffset + 4, 1);      // not enabled
  device_.write<std::uint16_t>(kRegistersBar, kNotifyOffset + 2, 0);      // no queue's address
  device_.write<std::uint16_t>(kRegistersBar, kRegistersSize - 4, 1023);  // no such queue
  EXPECT_EQ(device_.model.notified, (std::vector<std::uint16_t>{0, 0}));
}

// VIRTIO 1.3, 2.5.2, 4.1.4.5, 4.1.4.5.1, 4.1.5.1.3.
TEST_F(VirtioPciDeviceTest, InterruptsGoToTheQueuesVectorAndToIsr) {
  const EventFd config = listen(0);
  const EventFd queue = listen(1);
  device_.write<std::uint16_t>(kRegistersBar, kConfigVector, 0);
  start();
  device_.select(0);
  device_.write<std::uint16_t>(kRegistersBar, kVector, 1);
  device_.device->interrupt_queue(0);
  EXPECT_TRUE(queue.drain());
  EXPECT_FALSE(config.drain());
  EXPECT_EQ(device_.read<std::uint8_t>(kRegistersBar, kIsrOffset), spec::VIRTIO_PCI_ISR_QUEUE);
  EXPECT_EQ(device_.read<std::uint8_t>(kRegistersBar, kIsrOffset), 0);

  const auto before = device_.read<std::uint8_t>(kRegistersBar, 0x15);
  device_.device->interrupt_config();
  EXPECT_TRUE(config.drain());
  EXPECT_EQ(device_.read<std::uint8_t>(kRegistersBar, kIsrOffset), spec::VIRTIO_PCI_ISR_CONFIG);
  EXPECT_EQ(device_.read<std::uint8_t>(kRegistersBar, 0x15), before + 1);  // config_generation
}

TEST_F(VirtioPciDeviceTest, NoConfigurationInterruptBeforeDriverOk) {
  const EventFd config = listen(0);
  device_.write<std::uint16_t>(kRegistersBar, kConfigVector, 0);
  device_.device->interrupt_config();
  EXPECT_FALSE(config.drain());
  EXPECT_EQ(device_.read<std::uint8_t>(kRegistersBar, 0x15), 1);
}

// Workers interrupt, and report what a driver did, while the control thread serves registers.
TEST_F(VirtioPciDeviceTest, WorkersMayInterruptWhileTheDriverChangesVectors) {
  start();
  const EventFd heard = listen(1);
  std::array<std::jthread, 2> workers;
  for (std::jthread& worker : workers) {
    worker = std::jthread([this] {
      for (int i = 0; i < 2000; ++i) {
        device_.device->interrupt_queue(0);
      }
      device_.device->report_violation({.code = Errc::kBadIndex, .queue = 0});
    });
  }
  device_.select(0);
  for (std::uint16_t i = 0; i < 500; ++i) {
    device_.write<std::uint16_t>(kRegistersBar, kVector, i % 3);
    static_cast<void>(device_.read<std::uint8_t>(kRegistersBar, kIsrOffset));
    static_cast<void>(device_.status());
  }
  for (std::jthread& worker : workers) {
    worker.join();
  }
  EXPECT_EQ(device_.device->violations(), 2U);
  EXPECT_TRUE(needs_reset());
  device_.write<std::uint16_t>(kRegistersBar, kVector, 1);
  device_.device->interrupt_queue(0);
  EXPECT_TRUE(heard.drain());
}

// VIRTIO 1.3, 2.1.2: DEVICE_NEEDS_RESET comes with a configuration interrupt, at the latest when
// the driver is there to hear it.
TEST_F(VirtioPciDeviceTest, AViolationIsToldByInterruptAndAgainAtDriverOk) {
  const EventFd config = listen(0);
  device_.write<std::uint16_t>(kRegistersBar, kConfigVector, 0);
  ASSERT_TRUE(device_.negotiate(kFeatures));
  QueueSetup queue = device_.good_queue(0);
  queue.driver_area = window::DriverAddress{0x1000};
  EXPECT_FALSE(device_.enable_queue(queue));
  EXPECT_TRUE(config.drain());
  EXPECT_FALSE(device_.enable_queue(device_.good_queue(1)));  // broken: nothing is enabled any more
  device_.driver_ok();
  EXPECT_TRUE(config.drain());
  EXPECT_TRUE(device_.model.starts.empty());
}

// DEF-5, DMB-D7: from a worker, about a chain.
TEST_F(VirtioPciDeviceTest, AWorkersViolationNeedsAReset) {
  start();
  device_.device->report_violation({.code = Errc::kAddressOutside, .queue = 0, .address = 0x10});
  EXPECT_TRUE(needs_reset());
  EXPECT_EQ(device_.device->violations(), 1U);
  device_.set_status(0);
  EXPECT_EQ(device_.status(), 0);
  EXPECT_EQ(device_.model.stops, 1U);
  start();
}

// --- reset. VIRTIO 1.3, 2.4, 2.4.1, 4.1.4.3.1 ---

TEST_F(VirtioPciDeviceTest, StatusReadsNonzeroUntilTheModelHasStopped) {
  device_.model.stop_later = true;
  start();
  device_.set_status(0);
  EXPECT_NE(device_.status(), 0);
  device_.set_status(0);  // impatience changes nothing
  device_.set_status(0xff);
  device_.write<std::uint16_t>(kRegistersBar, kNotifyOffset, 0);
  EXPECT_EQ(device_.status(), 0x0f);
  EXPECT_EQ(device_.model.stops, 1U);
  EXPECT_TRUE(device_.model.notified.empty());
  device_.model.finish_stop();
  EXPECT_EQ(device_.status(), 0);
  EXPECT_EQ(device_.window.reach(), window::Reach::kNothing);
  start();
}

TEST_F(VirtioPciDeviceTest, ResetForgetsEverythingTheDriverSaid) {
  device_.write<std::uint16_t>(kRegistersBar, kConfigVector, 0);
  start();
  device_.device->interrupt_queue(0);
  device_.set_status(0);
  EXPECT_EQ(device_.read<std::uint16_t>(kRegistersBar, kConfigVector), spec::VIRTIO_MSI_NO_VECTOR);
  EXPECT_EQ(device_.read<std::uint8_t>(kRegistersBar, kIsrOffset), 0);
  EXPECT_EQ(device_.read<std::uint16_t>(kRegistersBar, kSelect), 0);
  EXPECT_EQ(device_.read<std::uint64_t>(kRegistersBar, 0x20), 0U);
  EXPECT_EQ(device_.read<std::uint64_t>(kRegistersBar, 0x28), 0U);
  EXPECT_FALSE(device_.enabled(0));
  EXPECT_FALSE(device_.negotiate(0));
  // A virtio reset leaves PCI alone, and the region's bytes (DEF-7).
  EXPECT_EQ(device_.window.region_bus_base(), window::BusAddress{TestDevice::kBusBase});
}

// What nobody heard before the reset concerns nobody after it (HD-18).
TEST_F(VirtioPciDeviceTest, ResetDropsInterruptsThatAreStillPending) {
  start();
  device_.select(0);
  device_.write<std::uint16_t>(kRegistersBar, kVector, 1);
  device_.device->interrupt_queue(0);
  device_.set_status(0);
  EXPECT_FALSE(listen(1).drain());
}

// A worker that is late, and a driver that is early. Its twin: the same was heard before the reset.
TEST_F(VirtioPciDeviceTest, SendsAndServesNothingAfterAReset) {
  const EventFd heard = listen(1);
  device_.write<std::uint16_t>(kRegistersBar, kConfigVector, 1);
  start();
  device_.select(0);
  device_.write<std::uint16_t>(kRegistersBar, kVector, 1);
  const auto act = [&] {
    device_.device->interrupt_queue(0);
    device_.device->interrupt_config();
    device_.write<std::uint16_t>(kRegistersBar, kNotifyOffset, 0);
  };
  act();
  EXPECT_TRUE(heard.drain());
  EXPECT_EQ(device_.model.notified.size(), 1U);
  device_.set_status(0);
  ASSERT_EQ(device_.status(), 0);
  act();
  EXPECT_FALSE(heard.drain());
  EXPECT_EQ(device_.model.notified.size(), 1U);
}

// VFIO_USER 1.14: config registers to defaults, and a virtio reset.
TEST_F(VirtioPciDeviceTest, FullResetGoesBackToPowerOnAndSaysWhen) {
  device_.model.stop_later = true;
  start();
  device_.write<std::uint32_t>(kRegionBar, 64, 0x12345678);
  unsigned done = 0;
  device_.device->reset([&] { ++done; });
  device_.device->reset([&] { ++done; });
  EXPECT_EQ(done, 0U);
  device_.model.finish_stop();
  EXPECT_EQ(done, 2U);
  EXPECT_EQ(device_.read<std::uint16_t>(kConfigRegion, spec::PCI_COMMAND), 0);
  EXPECT_EQ(device_.read<std::uint64_t>(kConfigRegion, 0x18), 0x0cU);
  EXPECT_EQ(device_.window.region_bus_base(), window::Window::kUnplaced);
  EXPECT_EQ(device_.read<std::uint32_t>(kRegionBar, 64), 0x12345678U);
  device_.device->reset([&] { ++done; });  // nothing runs: at once
  EXPECT_EQ(done, 3U);
}

TEST(VirtioPciDeviceLife, AModelThatStopsAfterTheDeviceIsGoneIsIgnored) {
  TestDevice device;
  device.place_region(TestDevice::kBusBase);
  device.model.stop_later = true;
  ASSERT_TRUE(device.negotiate(kFeatures));
  device.driver_ok();
  device.set_status(0);
  device.device.reset();
  device.model.finish_stop();
}

// --- accesses ---

TEST_F(VirtioPciDeviceTest, AccessesOutsideARegionAreRefusedWhole) {
  std::array<std::byte, 8> bytes{};
  const auto refused = [&](unsigned region, std::uint64_t offset) {
    const auto read = device_.device->read(region, offset, bytes);
    const auto written = device_.device->write(region, offset, bytes);
    return !read && !written && read.error().code == Errc::kOutOfRange &&
           written.error().code == Errc::kOutOfRange;
  };
  EXPECT_TRUE(refused(kRegistersBar, kRegistersSize - 7));
  EXPECT_TRUE(refused(kRegistersBar, ~std::uint64_t{0} - 3));
  EXPECT_FALSE(refused(kRegistersBar, kRegistersSize - 8));
  EXPECT_TRUE(refused(kMsixBar, 4096));
  EXPECT_TRUE(refused(kRegionBar, TestDevice::kRegionSize - 7));
  EXPECT_FALSE(refused(kRegionBar, TestDevice::kRegionSize - 8));
  EXPECT_TRUE(refused(kConfigRegion, 249));
  EXPECT_FALSE(refused(kConfigRegion, 248));
  for (const unsigned region : {3U, 4U, 5U, 6U, 8U, 9U, 0xffffffffU}) {
    EXPECT_TRUE(refused(region, 0)) << region;
  }
}

// Registers by halves, by bytes, and several at once: a 64-bit field is two 32-bit ones (4.1.3.1),
// and for the rest there is one answer too.
TEST_F(VirtioPciDeviceTest, AccessesOfAnySizeAreWellDefined) {
  device_.write<std::uint32_t>(kRegistersBar, 0x20, 0x11223344);
  device_.write<std::uint32_t>(kRegistersBar, 0x24, 0x55667788);
  EXPECT_EQ(device_.read<std::uint64_t>(kRegistersBar, 0x20), 0x5566778811223344U);
  device_.write<std::uint8_t>(kRegistersBar, 0x23, 0xaa);
  EXPECT_EQ(device_.read<std::uint64_t>(kRegistersBar, 0x20), 0x55667788aa223344U);
  // queue_select and queue_size of the queue that it selects, in one write.
  device_.write<std::uint32_t>(kRegistersBar, kSelect, 64U << 16 | 1);
  EXPECT_EQ(device_.read<std::uint16_t>(kRegistersBar, kSize), 64);
  device_.select(0);
  EXPECT_EQ(device_.read<std::uint16_t>(kRegistersBar, kSize), 256);
  // An odd read over the edge of two registers.
  device_.select(0x0201);
  EXPECT_EQ(device_.read<std::uint16_t>(kRegistersBar, kSelect + 1) & 0xff, 0x02);
  // Over the end of one structure, and where there is none.
  EXPECT_EQ(device_.read<std::uint64_t>(kRegistersBar, 0x3c), 0U);
  EXPECT_EQ(device_.read<std::uint64_t>(kRegistersBar, 0x800), 0U);
  device_.write<std::uint64_t>(kRegistersBar, 0x3c, ~std::uint64_t{0});
  EXPECT_EQ(device_.read<std::uint64_t>(kRegistersBar, 0x3c), 0U);
}

TEST_F(VirtioPciDeviceTest, DeviceConfigurationIsTheModels) {
  device_.model.config[4] = std::byte{0x5a};
  EXPECT_EQ(device_.read<std::uint8_t>(kRegistersBar, kDeviceConfigOffset + 4), 0x5a);
  device_.write<std::uint32_t>(kRegistersBar, kDeviceConfigOffset + 58, 0xffffffff);
  EXPECT_EQ(device_.model.config[59], std::byte{0xff});
  EXPECT_EQ(device_.read<std::uint32_t>(kRegistersBar, kDeviceConfigOffset + 58), 0x0000ffffU);
}

// VFIO_USER 0.7: the region by messages is the same memory.
TEST_F(VirtioPciDeviceTest, TheRegionCanBeReadAndWrittenByMessage) {
  device_.write<std::uint64_t>(kRegionBar, 8, 0x0102030405060708);
  EXPECT_EQ(device_.mapping.bytes().load_relaxed<std::uint64_t>(8), 0x0102030405060708U);
  EXPECT_EQ(device_.read<std::uint16_t>(kRegionBar, 9), 0x0607);
  EXPECT_TRUE(device_.device->region_info(kRegionBar).mappable);
  EXPECT_FALSE(device_.device->region_info(kRegistersBar).mappable);
}

// --- creation ---

TEST(VirtioPciDeviceCreate, RefusesWhatPciOrTheDraftsCanNotExpress) {
  RecordingModel model;
  const auto refusal = [&](std::uint64_t region, const VirtioPciDevice::Options& options) {
    const auto memfd = MUST(shm::SealedMemfd::create({.size = region}));
    const auto mapping = MUST(memfd.map());
    window::Window window(mapping.bytes());
    const auto device = VirtioPciDevice::create(options, model, window);
    return device ? std::optional<Errc>() : device.error().code;
  };
  EXPECT_EQ(refusal(4096, {}), std::nullopt);
  EXPECT_EQ(refusal(3UL * 4096, {}), Errc::kNotPowerOfTwo);
  EXPECT_EQ(refusal(3UL * 4096, {.negotiation = {.policy = DmaPolicy::kOpen}}), std::nullopt);
  EXPECT_EQ(refusal(4096, {.vectors = 2049}), Errc::kTooLarge);
  EXPECT_EQ(refusal(4096, {.vectors = 2048}), std::nullopt);
  // PCI-0: capability 10 has 32 bits; shared memory has 64.
  constexpr std::uint64_t kFourGiB = std::uint64_t{4} << 30;
  EXPECT_EQ(refusal(kFourGiB, {}), Errc::kTooLarge);
  EXPECT_EQ(refusal(kFourGiB, {.negotiation = {.offer = AddressOffer::kOffset}}), std::nullopt);
  model.queue_sizes = {100};
  EXPECT_EQ(refusal(4096, {}), Errc::kBadQueueSize);
  model.queue_sizes = std::vector<std::uint16_t>(kQueuesMax + 1, 8);
  EXPECT_EQ(refusal(4096, {}), Errc::kTooLarge);
  model.queue_sizes = {8};
  model.config.resize(4097);
  EXPECT_EQ(refusal(4096, {}), Errc::kTooLarge);
}

}  // namespace
}  // namespace airlock::pci
