// SPDX-License-Identifier: Apache-2.0
//
// Goal: a worker loses no wake-up, finishes what is in flight before it pauses or stops, and costs
// nothing at rest or when its queue is broken. Method: a task whose work and I/O the test controls.
#include "device/queue_worker.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <future>

#include "testing/scripted_task.h"

namespace airlock::device {
namespace {

using testing::finish_one;
using testing::Script;
using testing::ScriptedTask;
using testing::wait_until;
using testing::wait_until_asleep;

class QueueWorkerTest : public ::testing::Test {
 protected:
  void start() {
    worker_ = MUST(QueueWorker::start(
        std::make_unique<ScriptedTask>(script_),
        {.queue = 3,
         .poll = poll_,
         .metrics = &metrics_,
         .doorbell = &doorbell_,
         .on_broken = [this](const Error& error) { broken_.set_value(error); }}));
  }
  /// Makes one chain available, as a driver does: it notifies only where the device asked for it.
  void offer() {
    ++script_.offered;
    if (script_.notify_me) worker_->notify();
  }

  Script script_;
  PollBudget::Limits poll_{.longest = std::chrono::microseconds(100)};
  QueueMetrics metrics_;
  EventFd doorbell_ = MUST(EventFd::create());
  std::promise<Error> broken_;
  std::unique_ptr<QueueWorker> worker_;
};

TEST_F(QueueWorkerTest, TakesEveryChainThoughTheDriverNotifiesOnlyWhenAsked) {
  start();
  for (int i = 0; i < 2000; ++i) {
    offer();
    if (i % 3 == 0) wait_until([&] { return script_.taken.load() == i + 1; });
  }
  wait_until([&] { return script_.taken.load() == 2000; });
  for (int i = 0; i < 2000; ++i)
    finish_one(script_);
  wait_until([&] { return script_.returned.load() == 2000; });
}

TEST_F(QueueWorkerTest, PausesOnlyWhenNothingIsInFlightAndResumes) {
  start();
  offer();
  wait_until([&] { return script_.taken.load() == 1; });
  std::promise<void> paused;
  worker_->pause([&] { paused.set_value(); });
  auto future = paused.get_future();
  EXPECT_EQ(future.wait_for(std::chrono::milliseconds(20)), std::future_status::timeout);
  finish_one(script_);
  future.wait();
  EXPECT_EQ(script_.returned, 1);
  offer();
  worker_->notify();
  EXPECT_EQ(script_.taken, 1);
  worker_->resume();
  wait_until([&] { return script_.taken.load() == 2; });
  finish_one(script_);
}

// VIRTIO 1.3, 2.4.1: the ring is the driver's again.
TEST_F(QueueWorkerTest, StopForAResetReturnsNothingToTheRing) {
  start();
  offer();
  wait_until([&] { return script_.taken.load() == 1; });
  std::promise<void> stopped;
  worker_->stop(true, [&] { stopped.set_value(); });
  wait_until([&] { return script_.discarding.load(); });
  finish_one(script_);
  stopped.get_future().wait();
  EXPECT_EQ(script_.returned, 0);
  EXPECT_EQ(script_.discarded, 1);
}

TEST_F(QueueWorkerTest, BrokenQueueIsReportedOnceAndTakesInWhatIsInFlight) {
  start();
  offer();
  wait_until([&] { return script_.taken.load() == 1; });
  script_.lie = true;
  worker_->notify();
  EXPECT_EQ(broken_.get_future().get().code, Errc::kBadIndexJump);
  finish_one(script_);
  wait_until([&] { return script_.discarded.load() == 1; });
  worker_->notify();  // a second report would throw from the promise
}

TEST_F(QueueWorkerTest, LieFoundBeforeFallingAsleepIsReportedToo) {
  script_.lie_when_armed = true;
  start();
  EXPECT_EQ(broken_.get_future().get().code, Errc::kBadIndexJump);
}

TEST_F(QueueWorkerTest, SleepsAtRestAndWakesByNotification) {
  start();
  offer();
  wait_until([&] { return script_.taken.load() == 1; });
  finish_one(script_);
  wait_until_asleep(script_);
  EXPECT_TRUE(script_.notify_me);
  offer();
  wait_until([&] { return script_.taken.load() == 2; });
  finish_one(script_);
}

// One look, one more after it has asked for notifications, and nothing until it is woken: by a
// notification, then by I/O that finished.
TEST_F(QueueWorkerTest, SleepsAtOnceWhereItMayNotPoll) {
  poll_ = {.longest = std::chrono::seconds(3600), .cpu_percent = 0};
  start();
  wait_until([&] { return metrics_.empty_polls.get() == 2; });
  EXPECT_EQ(metrics_.wake_ups.get(), 0U);
  offer();
  wait_until([&] { return metrics_.empty_polls.get() == 4; });
  EXPECT_EQ(script_.taken.load(), 1);
  EXPECT_EQ(metrics_.wake_ups.get(), 1U);
  finish_one(script_);
  wait_until([&] { return metrics_.empty_polls.get() == 6; });
  EXPECT_EQ(script_.returned.load(), 1);
  EXPECT_EQ(metrics_.wake_ups.get(), 2U);
  wait_until([&] { return script_.farewells.load() == 3; });  // what it holds back may not wait
}

// Nobody is asked for a notification, and none comes.
TEST_F(QueueWorkerTest, NappingFindsWorkWithoutANotification) {
  poll_ = {.longest = std::chrono::microseconds(1), .naps_longest = std::chrono::seconds(3600)};
  start();
  for (int i = 0; i < 20; ++i) {
    const auto naps = metrics_.naps.get();
    wait_until([&] { return metrics_.naps.get() > naps; });
    EXPECT_FALSE(script_.notify_me);
    ++script_.offered;
    wait_until([&] { return script_.taken.load() == i + 1; });
    finish_one(script_);
    wait_until([&] { return script_.returned.load() == i + 1; });
  }
  EXPECT_EQ(metrics_.wake_ups.get(), 0U);
}

TEST_F(QueueWorkerTest, NappingHearsAnOrderAndSleepsWhilePaused) {
  poll_ = {.longest = std::chrono::microseconds(1), .naps_longest = std::chrono::seconds(3600)};
  start();
  wait_until([&] { return metrics_.naps.get() > 3; });
  std::promise<void> paused;
  worker_->pause([&] { paused.set_value(); });
  paused.get_future().wait();
  wait_until_asleep(script_);
  const auto naps = metrics_.naps.get();
  wait_until_asleep(script_);
  EXPECT_EQ(metrics_.naps.get(), naps);
  worker_->resume();
  wait_until([&] { return metrics_.naps.get() > naps; });
}

TEST_F(QueueWorkerTest, SleepsWhenItHasNappedForAsLongAsItMay) {
  poll_ = {.longest = std::chrono::microseconds(1), .naps_longest = std::chrono::milliseconds(1)};
  start();
  wait_until_asleep(script_);
  EXPECT_TRUE(script_.notify_me);
  EXPECT_GT(metrics_.naps.get(), 0U);
  offer();
  wait_until([&] { return script_.taken.load() == 1; });
  finish_one(script_);
}

// The driver's own eventfd, in place of notify().
TEST_F(QueueWorkerTest, WakesByItsDoorbell) {
  start();
  for (int i = 0; i < 3; ++i) {
    wait_until_asleep(script_);
    ++script_.offered;
    doorbell_.signal();
    wait_until([&] { return script_.taken.load() == i + 1; });
  }
  EXPECT_EQ(metrics_.doorbells.get(), 3U);
  for (int i = 0; i < 3; ++i)
    finish_one(script_);
}

// A notification that costs little comes sooner than a nap ends. One by the VMM is spared again.
TEST_F(QueueWorkerTest, NapsUnlessTheDriverRingsItself) {
  poll_ = {.longest = std::chrono::microseconds(1), .naps_longest = std::chrono::milliseconds(1)};
  start();
  wait_until_asleep(script_);
  const auto naps = metrics_.naps.get();
  EXPECT_GT(naps, 0U);
  for (int i = 0; i < 2; ++i) {
    doorbell_.signal();
    wait_until([&] { return metrics_.wake_ups.get() == static_cast<unsigned>(i + 1); });
    wait_until_asleep(script_);
  }
  EXPECT_EQ(metrics_.naps.get(), naps);
  worker_->notify();
  wait_until([&] { return metrics_.naps.get() > naps; });
}

// It is the driver's too, who may do anything to it: no order goes through it, and nothing waits on
// it, so that only his own notifications can get lost.
TEST_F(QueueWorkerTest, DoorbellInHostileHandsDelaysNoOrder) {
  const auto set = [this](int flags) { return fcntl(doorbell_.fd(), F_SETFL, flags); };
  start();
  wait_until_asleep(script_);
  ASSERT_EQ(set(0), 0);  // blocking
  std::atomic<bool> enough{false};
  std::jthread emptying([&] {
    while (!enough)
      (void)doorbell_.drain();
  });
  const std::uint64_t most = UINT64_MAX - 1;
  for (int i = 0; i < 100; ++i) {
    (void)doorbell_.drain();
    ASSERT_EQ(write(doorbell_.fd(), &most, sizeof most), 8);
    std::promise<void> paused;
    worker_->pause([&] { paused.set_value(); });
    paused.get_future().wait();
    worker_->resume();
  }
  enough = true;
  emptying.join();
  ++script_.offered;
  worker_->notify();
  wait_until([&] { return script_.taken.load() == 1; });
  finish_one(script_);
}

TEST_F(QueueWorkerTest, PausedOrBrokenSleepsThroughItsDoorbell) {
  start();
  std::promise<void> paused;
  worker_->pause([&] { paused.set_value(); });
  paused.get_future().wait();
  doorbell_.signal();
  wait_until_asleep(script_);
  EXPECT_EQ(metrics_.doorbells.get(), 0U);
  worker_->resume();
  wait_until([&] { return metrics_.doorbells.get() == 1; });
  script_.lie = true;
  doorbell_.signal();
  EXPECT_EQ(broken_.get_future().get().code, Errc::kBadIndexJump);
  doorbell_.signal();
  wait_until_asleep(script_);
  EXPECT_TRUE(doorbell_.drain()) << "nobody took it";
}

TEST_F(QueueWorkerTest, SleepsWhenBrokenEvenWithIoThatFinishes) {
  start();
  offer();
  wait_until([&] { return script_.taken.load() == 1; });
  script_.lie = true;
  worker_->notify();
  wait_until_asleep(script_);
  finish_one(script_);
  wait_until([&] { return script_.discarded.load() == 1; });
  wait_until_asleep(script_);
}

}  // namespace
}  // namespace airlock::device
