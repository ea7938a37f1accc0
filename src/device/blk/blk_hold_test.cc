// SPDX-License-Identifier: Apache-2.0
// A disk that fails, under each policy: who hears of it, what waits, and what ends the waiting.
#include "device/blk/blk_hold.h"

#include <poll.h>

#include <cerrno>

#include <gtest/gtest.h>

#include "device/blk/blk_device.h"
#include "testing/blk_driver.h"
#include "testing/fake_backend.h"

namespace airlock::device {
namespace {

using testing::BlkDriver;
using testing::BuiltChain;
using testing::FakeBackend;
using testing::FakeStorage;
using testing::filled;

constexpr std::uint16_t kSlots = 64;

class BlkHoldTest : public ::testing::Test {
 protected:
  void open(OnError policy) {
    device_ = MUST(BlkDevice::create({.backend = std::make_unique<FakeBackend>(disk_),
                                      .shape = {.queues = 1, .queue_size = kSlots},
                                      .ring_features = 0,
                                      .on_error = policy}));
    const ring::QueueConfig& config = driver_.ring().config();
    QueueContext context;
    context.negotiated.features = device_->features();
    context.negotiated.reach = window::Reach::kRegion;
    context.setup = {.index = 0,
                     .size = kSlots,
                     .descriptor_area = config.areas.descriptors,
                     .driver_area = config.areas.driver,
                     .device_area = config.areas.device};
    context.window = &driver_.region().window();
    task_ = MUST(device_->make_queue(context));
  }
  void poll_until_idle() {
    while (MUST(task_->poll())) {
    }
  }
  /// What the queue's worker does when there is nothing to do.
  [[nodiscard]] bool wakes(int timeout_ms) const {
    pollfd fd{.fd = task_->completion_fd(), .events = POLLIN, .revents = 0};
    return ::poll(&fd, 1, timeout_ms) == 1;
  }
  void expect_answer(const BuiltChain& chain, std::uint8_t status) {
    const auto used = driver_.ring().take_used();
    ASSERT_TRUE(used.has_value());
    EXPECT_EQ(used->id, chain.head());
    EXPECT_EQ(BlkDriver::status(chain), status);
  }

  BlkDriver driver_{kSlots};
  std::shared_ptr<FakeStorage> disk_ = std::make_shared<FakeStorage>();
  std::unique_ptr<BlkDevice> device_;
  std::unique_ptr<QueueTask> task_;
};

TEST_F(BlkHoldTest, ReportTellsTheDriver) {
  open(OnError::kReport);
  disk_->errors = {EIO};
  const BuiltChain chain = driver_.write(0, filled(512, 1));
  poll_until_idle();
  expect_answer(chain, spec::VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(device_->counts().io_errors, 1U);
  EXPECT_EQ(device_->counts().held, 0U);
}

TEST_F(BlkHoldTest, StopHoldsTheRequestAndBeginsNothingNew) {
  open(OnError::kStop);
  disk_->errors = {ENOSPC, EIO};
  const BuiltChain failing = driver_.write(0, filled(512, 1));
  poll_until_idle();
  const BuiltChain later = driver_.read(1, 512);
  poll_until_idle();
  EXPECT_FALSE(driver_.ring().take_used());
  EXPECT_EQ(task_->in_flight(), 1U);
  EXPECT_EQ(disk_->seen.size(), 1U);
  EXPECT_EQ(device_->counts().held, 1U);
  EXPECT_FALSE(wakes(0));
  // Told to go on, it fails again, and is held again.
  device_->retry_held();
  EXPECT_TRUE(wakes(0));
  poll_until_idle();
  expect_answer(later, spec::VIRTIO_BLK_S_OK);
  EXPECT_EQ(task_->in_flight(), 1U);
  const BuiltChain last = driver_.read(1, 512);
  poll_until_idle();
  EXPECT_FALSE(driver_.ring().take_used());
  EXPECT_FALSE(wakes(0)) << "nothing has happened since";
  device_->retry_held();
  poll_until_idle();
  expect_answer(failing, spec::VIRTIO_BLK_S_OK);
  expect_answer(last, spec::VIRTIO_BLK_S_OK);
  EXPECT_EQ(
      device_->counts(),
      (BlkCounts{.reads = 2, .writes = 1, .read_bytes = 1024, .written_bytes = 512, .held = 2}));
  EXPECT_EQ(disk_->bytes[0], std::byte{1});
}

TEST_F(BlkHoldTest, ABellThatRingsForNobodyWakesNobody) {
  open(OnError::kStop);
  device_->retry_held();
  EXPECT_FALSE(wakes(0));
  disk_->errors = {EIO};
  driver_.flush();
  poll_until_idle();
  EXPECT_FALSE(wakes(0)) << "it rang before there was a request to be tried again";
  EXPECT_EQ(disk_->seen.size(), 1U);
}

TEST_F(BlkHoldTest, RetryTriesAgainUntilItSucceeds) {
  open(OnError::kRetry);
  disk_->errors = {EIO, EIO, ENOSPC};
  const BuiltChain failing = driver_.write(0, filled(512, 1));
  poll_until_idle();
  // Others go on.
  const BuiltChain other = driver_.get_id();
  poll_until_idle();
  expect_answer(other, spec::VIRTIO_BLK_S_OK);
  while (disk_->seen.size() < 4) {
    ASSERT_TRUE(wakes(5'000));
    poll_until_idle();
  }
  expect_answer(failing, spec::VIRTIO_BLK_S_OK);
  EXPECT_EQ(device_->counts().held, 3U);
  EXPECT_EQ(device_->counts().io_errors, 0U);
  EXPECT_FALSE(wakes(0));
}

TEST_F(BlkHoldTest, RetryCanBeHastened) {
  open(OnError::kRetry);
  disk_->errors = {EIO};
  const BuiltChain failing = driver_.flush();
  poll_until_idle();
  device_->retry_held();
  poll_until_idle();
  expect_answer(failing, spec::VIRTIO_BLK_S_OK);
}

TEST_F(BlkHoldTest, EnospcHoldsWhatFindsNoRoomAndReportsTheRest) {
  open(OnError::kEnospc);
  disk_->errors = {EIO, ENOSPC};
  const BuiltChain bad = driver_.write(0, filled(512, 1));
  poll_until_idle();
  expect_answer(bad, spec::VIRTIO_BLK_S_IOERR);
  const BuiltChain full = driver_.write(0, filled(512, 2));
  poll_until_idle();
  EXPECT_FALSE(driver_.ring().take_used());
  device_->retry_held();
  poll_until_idle();
  expect_answer(full, spec::VIRTIO_BLK_S_OK);
}

TEST_F(BlkHoldTest, TheRangeThatFailedIsTriedAgainAndNoOther) {
  open(OnError::kStop);
  disk_->errors = {0, EIO};
  const BuiltChain chain =
      driver_.ranges(spec::VIRTIO_BLK_T_DISCARD,
                     {BlkDriver::range(0, 1), BlkDriver::range(4, 2), BlkDriver::range(8, 1)});
  poll_until_idle();
  ASSERT_EQ(disk_->seen.size(), 2U);
  device_->retry_held();
  poll_until_idle();
  expect_answer(chain, spec::VIRTIO_BLK_S_OK);
  ASSERT_EQ(disk_->seen.size(), 4U);
  EXPECT_EQ(disk_->seen[2].offset, 4U * 512);
  EXPECT_EQ(disk_->seen[3].offset, 8U * 512);
}

TEST_F(BlkHoldTest, ARequestThatCouldNotBeBegunIsHeldAsWell) {
  open(OnError::kStop);
  disk_->submit_errors = {system_error(ENOMEM)};
  const BuiltChain chain = driver_.read(0, 512);
  poll_until_idle();
  EXPECT_EQ(task_->in_flight(), 1U);
  device_->retry_held();
  poll_until_idle();
  expect_answer(chain, spec::VIRTIO_BLK_S_OK);
}

TEST_F(BlkHoldTest, AResetForgetsWhatIsHeld) {
  for (const OnError policy : {OnError::kStop, OnError::kRetry}) {
    driver_.ring() = testing::FakeDriver(driver_.region(), kSlots);
    open(policy);
    disk_->errors = {EIO};
    const BuiltChain chain = driver_.write(0, filled(512, 1));
    poll_until_idle();
    EXPECT_EQ(task_->in_flight(), 1U);
    task_->drain(true);
    EXPECT_EQ(task_->in_flight(), 0U);
    EXPECT_FALSE(driver_.ring().take_used());
    device_->retry_held();
    EXPECT_FALSE(wakes(0));
  }
}

// The end of the process, or memory that changes: neither can wait for a person.
TEST_F(BlkHoldTest, ADrainAnswersWhatIsHeldAndTheQueueGoesOnAfterIt) {
  open(OnError::kStop);
  disk_->errors = {EIO, EIO};
  const BuiltChain held = driver_.write(0, filled(512, 1));
  poll_until_idle();
  task_->drain(false);
  EXPECT_EQ(task_->in_flight(), 0U);
  expect_answer(held, spec::VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(device_->counts().io_errors, 1U);
  ASSERT_TRUE(task_->rebind());
  // Policy again, as before.
  driver_.write(0, filled(512, 1));
  poll_until_idle();
  EXPECT_EQ(task_->in_flight(), 1U);
  EXPECT_FALSE(driver_.ring().take_used());
}

TEST_F(BlkHoldTest, WhatFailsDuringADrainIsAnswered) {
  open(OnError::kRetry);
  disk_->hold = true;
  disk_->errors = {EIO};
  const BuiltChain chain = driver_.flush();
  poll_until_idle();
  disk_->finish(1);
  task_->drain(false);
  expect_answer(chain, spec::VIRTIO_BLK_S_IOERR);
}

}  // namespace
}  // namespace airlock::device
