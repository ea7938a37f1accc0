// SPDX-License-Identifier: Apache-2.0
//
// Goal: a driver that resets one queue gets it back, and nothing else of the device changes; what
// a notification says is not believed. VIRTIO 1.3, 2.6.1, 2.9, 4.1.4.3. Method: a driver's accesses
// to a model that takes its time where a test wants it to.
#include <gtest/gtest.h>

#include <vector>

#include "pci/test_device.h"

namespace airlock::pci {
namespace {

constexpr std::uint64_t kFeatures = spec::feature(spec::VIRTIO_F_VERSION_1) |
                                    spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM) |
                                    spec::feature(spec::VIRTIO_F_SWIOTLB);
constexpr std::uint64_t kWithReset = kFeatures | spec::feature(spec::VIRTIO_F_RING_RESET);
constexpr std::uint64_t kSize = offsetof(spec::VirtioPciCommonCfg, queue_size);
constexpr std::uint64_t kVector = offsetof(spec::VirtioPciCommonCfg, queue_msix_vector);
constexpr std::uint64_t kReset = offsetof(spec::VirtioPciCommonCfg, queue_reset);

class QueueResetTest : public testing::Test {
 protected:
  QueueResetTest() { device_.place_region(TestDevice::kBusBase); }

  void start(std::uint64_t features = kWithReset) {
    ASSERT_TRUE(device_.negotiate(features));
    ASSERT_TRUE(device_.enable_queue(device_.good_queue(0)));
    ASSERT_TRUE(device_.enable_queue(device_.good_queue(1)));
    device_.driver_ok();
    ASSERT_TRUE(device_.device->running());
  }
  [[nodiscard]] bool needs_reset() {
    return (device_.status() & spec::VIRTIO_CONFIG_S_NEEDS_RESET) != 0;
  }
  void notify(std::uint16_t queue) {
    device_.write<std::uint16_t>(kRegistersBar, kNotifyOffset + kNotifyMultiplier * queue, queue);
  }
  /// What the model runs, by index.
  [[nodiscard]] std::vector<std::uint16_t> running() const {
    std::vector<std::uint16_t> indices;
    for (const QueueSetup& queue : device_.model.queues)
      indices.push_back(queue.index);
    return indices;
  }

  TestDevice device_;
};

using Queues = std::vector<std::uint16_t>;

// VIRTIO 1.3, 4.1.4.3.1: queue_reset is 1 as long as it takes, then it and queue_enable are 0.
TEST_F(QueueResetTest, ReadsOneUntilTheQueueHasStopped) {
  device_.model.stop_later = true;
  start();
  EXPECT_FALSE(device_.resetting(0));  // 0 after the queue was enabled
  device_.reset_queue(0);
  EXPECT_TRUE(device_.resetting(0));
  EXPECT_TRUE(device_.enabled(0));
  EXPECT_FALSE(device_.resetting(1));
  device_.reset_queue(0);  // impatience changes nothing
  EXPECT_EQ(device_.model.queue_resets, Queues{0});
  device_.model.finish_queue_resets();
  EXPECT_FALSE(device_.resetting(0));
  EXPECT_FALSE(device_.enabled(0));
  EXPECT_EQ(device_.status(), 0x0f);
}

// VIRTIO 1.3, 2.6.1.1.1: that queue's state is the default state; the others go on.
TEST_F(QueueResetTest, LeavesTheOtherQueuesAlone) {
  start();
  device_.select(0);
  device_.write<std::uint16_t>(kRegistersBar, kVector, 1);
  device_.reset_queue(0);
  EXPECT_EQ(running(), Queues{1});
  EXPECT_TRUE(device_.enabled(1));
  device_.select(0);
  EXPECT_EQ(device_.read<std::uint16_t>(kRegistersBar, kSize), 256);
  EXPECT_EQ(device_.read<std::uint16_t>(kRegistersBar, kVector), spec::VIRTIO_MSI_NO_VECTOR);
  EXPECT_EQ(device_.read<std::uint64_t>(kRegistersBar, 0x20), 0U);
  EXPECT_EQ(device_.read<std::uint64_t>(kRegistersBar, 0x28), 0U);
  EXPECT_EQ(device_.read<std::uint64_t>(kRegistersBar, 0x30), 0U);
  notify(0);
  notify(1);
  EXPECT_EQ(device_.model.notified, Queues{1});
}

// VIRTIO 1.3, 2.6.1.2.1: with whatever the driver sets up now, a smaller ring elsewhere.
TEST_F(QueueResetTest, TheQueueCanBeEnabledAgainWhileTheDeviceRuns) {
  start();
  device_.reset_queue(0);
  QueueSetup queue = device_.good_queue(0);
  queue.size = 64;
  queue.descriptor_area = window::DriverAddress{TestDevice::kBusBase + 0x80000};
  ASSERT_TRUE(device_.enable_queue(queue));
  EXPECT_FALSE(device_.resetting(0));
  ASSERT_EQ(running(), (Queues{1, 0}));
  EXPECT_EQ(device_.model.queues[1].size, 64);
  EXPECT_EQ(device_.model.queues[1].descriptor_area, queue.descriptor_area);
  notify(0);
  EXPECT_EQ(device_.model.notified, Queues{0});
  EXPECT_EQ(device_.model.starts.size(), 1U);
}

TEST_F(QueueResetTest, OnlyAQueueThatWasResetIsEnabledAfterDriverOk) {
  ASSERT_TRUE(device_.negotiate(kWithReset));
  ASSERT_TRUE(device_.enable_queue(device_.good_queue(0)));
  device_.driver_ok();
  EXPECT_FALSE(device_.enable_queue(device_.good_queue(1)));
  device_.reset_queue(1);  // was not enabled: there is nothing to reset
  EXPECT_FALSE(device_.enable_queue(device_.good_queue(1)));
  device_.reset_queue(0);
  EXPECT_TRUE(device_.enable_queue(device_.good_queue(0)));
  EXPECT_FALSE(needs_reset());
  EXPECT_EQ(device_.model.queue_resets, Queues{0});
}

TEST_F(QueueResetTest, AQueueEnabledAgainIsCheckedAgain) {
  start();
  device_.reset_queue(0);
  QueueSetup queue = device_.good_queue(0);
  queue.device_area = window::DriverAddress{0x1000};
  EXPECT_FALSE(device_.enable_queue(queue));
  EXPECT_TRUE(needs_reset());
  EXPECT_EQ(running(), Queues{1});
}

TEST_F(QueueResetTest, AModelThatCanNotStartTheQueueNeedsAReset) {
  start();
  device_.reset_queue(0);
  device_.model.start_error = Error{.code = Errc::kAddressOutside, .queue = 0};
  EXPECT_FALSE(device_.enable_queue(device_.good_queue(0)));
  EXPECT_TRUE(needs_reset());
}

TEST_F(QueueResetTest, NothingHappensWithoutTheFeature) {
  start(kFeatures);
  device_.reset_queue(0);
  EXPECT_FALSE(device_.resetting(0));
  EXPECT_TRUE(device_.enabled(0));
  EXPECT_TRUE(device_.model.queue_resets.empty());
}

// VIRTIO 1.3, 4.1.4.3.2: 1 is all that a driver may write.
TEST_F(QueueResetTest, OtherValuesAreIgnored) {
  start();
  device_.select(0);
  for (const std::uint16_t value : std::initializer_list<std::uint16_t>{0, 2, 0x101, 0xffff}) {
    device_.write<std::uint16_t>(kRegistersBar, kReset, value);
  }
  device_.select(500);  // no such queue
  device_.write<std::uint16_t>(kRegistersBar, kReset, 1);
  EXPECT_TRUE(device_.model.queue_resets.empty());
}

TEST_F(QueueResetTest, RegistersDoNotChangeMeanwhile) {
  device_.model.stop_later = true;
  start();
  device_.reset_queue(0);
  const auto before = device_.read<std::uint64_t>(kRegistersBar, 0x20);
  device_.write<std::uint64_t>(kRegistersBar, 0x20, 0x1234);
  EXPECT_EQ(device_.read<std::uint64_t>(kRegistersBar, 0x20), before);
  device_.write<std::uint16_t>(kRegistersBar, 0x1c, 1);
  notify(0);
  EXPECT_TRUE(device_.model.notified.empty());
  EXPECT_EQ(running(), Queues{1});
}

// A queue that is set up and not running yet is reset at once, and may come back at any time.
TEST_F(QueueResetTest, BeforeDriverOkThereIsNothingToStop) {
  ASSERT_TRUE(device_.negotiate(kWithReset));
  ASSERT_TRUE(device_.enable_queue(device_.good_queue(0)));
  device_.reset_queue(0);
  EXPECT_FALSE(device_.enabled(0));
  EXPECT_TRUE(device_.model.queue_resets.empty());
  device_.driver_ok();
  EXPECT_TRUE(running().empty());
  EXPECT_TRUE(device_.enable_queue(device_.good_queue(0)));
  EXPECT_EQ(running(), Queues{0});
}

// The driver waits for queue_reset, and then takes its buffers back.
TEST_F(QueueResetTest, ADeviceThatNeedsAResetStillStopsTheQueue) {
  device_.model.stop_later = true;
  start();
  device_.device->report_violation({.code = Errc::kBadIndex, .queue = 0});
  device_.reset_queue(0);
  EXPECT_TRUE(device_.resetting(0));
  device_.model.finish_queue_resets();
  EXPECT_FALSE(device_.enabled(0));
  EXPECT_FALSE(device_.enable_queue(device_.good_queue(0)));
}

TEST_F(QueueResetTest, AResetOfTheDeviceOverridesIt) {
  device_.model.stop_later = true;
  start();
  device_.reset_queue(0);
  device_.set_status(0);
  device_.reset_queue(1);
  EXPECT_EQ(device_.model.queue_resets, Queues{0});
  EXPECT_NE(device_.status(), 0);
  device_.model.finish_stop();
  EXPECT_EQ(device_.status(), 0);
  EXPECT_FALSE(device_.resetting(0));
  start();
  EXPECT_EQ(running(), (Queues{0, 1}));
  device_.set_status(0);
  device_.model.finish_stop();
  // That it once was reset is forgotten too.
  ASSERT_TRUE(device_.negotiate(kWithReset));
  device_.driver_ok();
  EXPECT_FALSE(device_.enable_queue(device_.good_queue(0)));
}

TEST_F(QueueResetTest, AModelThatIsDoneAfterTheDeviceIsGoneIsIgnored) {
  device_.model.stop_later = true;
  start();
  device_.reset_queue(0);
  device_.device.reset();
  device_.model.finish_queue_resets();
  EXPECT_EQ(device_.model.queue_resets, Queues{0});
}

// VIRTIO 1.3, 2.9, 4.1.5.2: 32 bits, of which the address says enough.
TEST_F(QueueResetTest, NotificationDataIsAcceptedAndNotBelieved) {
  start(kFeatures | spec::feature(spec::VIRTIO_F_NOTIFICATION_DATA));
  device_.write<std::uint32_t>(kRegistersBar, kNotifyOffset + kNotifyMultiplier, 0x0007'0001);
  EXPECT_EQ(device_.model.notified, Queues{1});
  // A number that is another queue's, or nobody's; an offset and a wrap counter of no ring.
  device_.write<std::uint32_t>(kRegistersBar, kNotifyOffset, 0xffff'0001);
  device_.write<std::uint32_t>(kRegistersBar, kNotifyOffset, 0xffff'ffff);
  EXPECT_EQ(device_.model.notified, (Queues{1, 0, 0}));
  EXPECT_FALSE(needs_reset());
}

// VIRTIO 1.3, 4.1.4.4.1: room for four bytes at the address of every queue.
TEST(QueueNotify, HasRoomForNotificationData) {
  auto model = std::make_unique<RecordingModel>();
  model->queue_sizes.assign(kQueuesMax, 16);
  TestDevice device({}, std::move(model));
  const auto found = MUST(find_capabilities(device, device.bar_sizes()));
  ASSERT_TRUE(found.notify);
  EXPECT_EQ(found.notify->offset % 4, 0U);
  EXPECT_GE(found.notify->length,
            std::uint64_t{kQueuesMax - 1U} * found.notify_off_multiplier + sizeof(Le32));
}

}  // namespace
}  // namespace airlock::pci
