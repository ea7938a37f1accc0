// SPDX-License-Identifier: Apache-2.0
//
// Goal: operations on all queues of a device take effect in the order they were given, and are
// reported when they have. Method: scripted queues, and a control thread that the test pumps.
#include "device/queue_set.h"

#include <gtest/gtest.h>

#include <mutex>

#include "testing/scripted_task.h"

namespace airlock::device {
namespace {

using testing::finish_one;
using testing::Script;
using testing::ScriptedTask;
using testing::wait_until;

class QueueSetTest : public ::testing::Test {
 protected:
  void add(std::uint16_t queue) {
    ASSERT_TRUE(set_->add(queue, std::make_unique<ScriptedTask>(scripts_[queue])));
  }
  void offer(std::uint16_t queue) {
    const int target = ++scripts_[queue].offered;
    set_->notify(queue);
    wait_until([&] { return scripts_[queue].taken.load() == target; });
  }
  /// Runs what was posted until `predicate` holds.
  template <class Predicate>
  void pump_until(Predicate predicate) {
    wait_until([&] {
      std::function<void()> next;
      {
        const std::lock_guard lock(mutex_);
        if (!posted_.empty()) {
          next = std::move(posted_.front());
          posted_.pop_front();
        }
      }
      if (next) next();
      return predicate();
    });
  }

  std::array<Script, 2> scripts_;
  std::mutex mutex_;
  std::deque<std::function<void()>> posted_;
  std::vector<Error> broken_;
  std::unique_ptr<QueueSet> set_ = std::make_unique<QueueSet>(
      QueueSet::Options{.post =
                            [this](std::function<void()> function) {
                              const std::lock_guard lock(mutex_);
                              posted_.push_back(std::move(function));
                            },
                        .on_broken = [this](const Error& error) { broken_.push_back(error); }});
};

TEST_F(QueueSetTest, PausesWhenEveryQueueIsAtRestAndResumes) {
  add(0);
  add(1);
  offer(0);
  bool paused = false;
  set_->pause([&] { paused = true; });
  finish_one(scripts_[0]);
  pump_until([&] { return paused; });
  EXPECT_EQ(scripts_[0].returned, 1);
  set_->resume();
  offer(0);
  offer(1);
  finish_one(scripts_[0]);
  finish_one(scripts_[1]);
}

TEST_F(QueueSetTest, QueueWhoseRingIsGoneRestsUntilItIsBack) {
  add(0);
  scripts_[0].ring_gone = true;
  int paused = 0;
  for (int round = 1; round <= 2; ++round) {
    set_->pause([&] { ++paused; });
    pump_until([&] { return paused == round; });
    set_->resume();
    set_->notify(0);
  }
  ++scripts_[0].offered;
  set_->notify(0);
  scripts_[0].ring_gone = false;
  set_->pause([&] { ++paused; });
  pump_until([&] { return paused == 3; });
  EXPECT_EQ(scripts_[0].taken, 0);
  set_->resume();
  wait_until([&] { return scripts_[0].taken.load() == 1; });
  finish_one(scripts_[0]);
}

TEST_F(QueueSetTest, StopGivenDuringAPauseFollowsIt) {
  add(0);
  offer(0);
  std::string order;
  set_->pause([&] { order += "paused "; });
  set_->stop(true, [&] { order += "stopped"; });
  finish_one(scripts_[0]);
  pump_until([&] { return set_->empty(); });
  EXPECT_EQ(order, "paused stopped");
}

// VIRTIO 1.3, 2.6.1.1.1: that queue alone, and nothing of it is returned to the ring.
TEST_F(QueueSetTest, StopsOneQueueAndTheOthersGoOn) {
  add(0);
  add(1);
  offer(0);
  offer(1);
  bool stopped = false;
  set_->stop_one(0, [&] { stopped = true; });
  finish_one(scripts_[1]);
  pump_until([&] { return scripts_[1].returned.load() == 1; });
  EXPECT_FALSE(stopped) << "it has I/O in flight";
  wait_until([&] { return scripts_[0].discarding.load(); });
  finish_one(scripts_[0]);
  pump_until([&] { return stopped; });
  EXPECT_EQ(scripts_[0].returned, 0);
  EXPECT_EQ(scripts_[0].discarded, 1);
  offer(1);
  finish_one(scripts_[1]);
  add(0);  // and it may come back
  offer(0);
  finish_one(scripts_[0]);
}

TEST_F(QueueSetTest, QueueStoppedDuringAPauseFollowsIt) {
  add(0);
  add(1);
  offer(0);
  std::string order;
  set_->pause([&] {
    order += "paused ";
    set_->resume();
  });
  set_->stop_one(1, [&] { order += "one "; });
  set_->stop(true, [&] { order += "all"; });
  finish_one(scripts_[0]);
  pump_until([&] { return set_->empty(); });
  EXPECT_EQ(order, "paused one all");
}

TEST_F(QueueSetTest, PauseFollowsAQueueThatIsStopping) {
  add(0);
  add(1);
  offer(0);
  std::string order;
  set_->stop_one(0, [&] { order += "one "; });
  set_->pause([&] { order += "paused"; });
  finish_one(scripts_[0]);
  pump_until([&] { return order == "one paused"; });
  set_->resume();
  offer(1);
  finish_one(scripts_[1]);
}

// Memory may be changed as soon as the pause is over: nothing may look at its ring by then.
TEST_F(QueueSetTest, QueueAddedDuringAPauseRestsUntilItIsOver) {
  add(0);
  offer(0);
  bool paused = false;
  set_->pause([&] { paused = true; });
  scripts_[1].offered = 1;
  add(1);
  set_->notify(1);
  finish_one(scripts_[0]);
  pump_until([&] { return paused; });
  EXPECT_EQ(scripts_[1].calls, 0);
  set_->resume();
  wait_until([&] { return scripts_[1].taken.load() == 1; });
  finish_one(scripts_[1]);
}

TEST_F(QueueSetTest, QueueAddedDuringAPauseFindsItsRingFirst) {
  add(0);
  bool paused = false;
  set_->pause([&] { paused = true; });
  pump_until([&] { return paused; });
  scripts_[1].ring_gone = true;
  scripts_[1].offered = 1;
  add(1);
  set_->resume();
  set_->notify(1);
  paused = false;
  set_->pause([&] { paused = true; });
  pump_until([&] { return paused; });
  EXPECT_EQ(scripts_[1].taken, 0);
  scripts_[1].ring_gone = false;
  set_->resume();
  wait_until([&] { return scripts_[1].taken.load() == 1; });
  finish_one(scripts_[1]);
}

TEST_F(QueueSetTest, QueueAddedWhileAnotherStopsRunsAtOnce) {
  add(0);
  offer(0);
  bool stopped = false;
  set_->stop_one(0, [&] { stopped = true; });
  add(1);
  offer(1);
  finish_one(scripts_[1]);
  pump_until([&] { return scripts_[1].returned.load() == 1; });
  EXPECT_FALSE(stopped);
  finish_one(scripts_[0]);
  pump_until([&] { return stopped; });
}

TEST_F(QueueSetTest, StopAndWaitFulfilsTheStopOfOne) {
  add(0);
  std::string order;
  set_->stop_one(0, [&] { order += "one "; });
  set_->stop(true, [&] { order += "all"; });
  set_->stop_and_wait(true);
  EXPECT_EQ(order, "one all");
  EXPECT_TRUE(set_->empty());
}

TEST_F(QueueSetTest, OperationsOnNoQueueAreDoneAtOnce) {
  bool stopped = false;
  set_->stop(false, [&] { stopped = true; });
  EXPECT_TRUE(stopped);
  stopped = false;
  set_->stop_one(7, [&] { stopped = true; });
  EXPECT_TRUE(stopped);
  set_->notify(7);
}

TEST_F(QueueSetTest, StopAndWaitFulfilsWhatWasAskedBeforeAndHearsNoLateReports) {
  add(0);
  bool paused = false;
  set_->pause([&] { paused = true; });
  set_->stop_and_wait(true);
  EXPECT_TRUE(paused);
  add(0);
  offer(0);
  bool stopped = false;
  set_->stop(true, [&] { stopped = true; });
  {
    const std::lock_guard lock(mutex_);
    for (auto& late : std::exchange(posted_, {}))
      late();
  }
  EXPECT_FALSE(stopped) << "a report of the first pause was taken for one of this stop";
  finish_one(scripts_[0]);
  pump_until([&] { return stopped; });
}

TEST_F(QueueSetTest, ReportsABrokenQueueOnTheControlThread) {
  add(0);
  scripts_[0].lie = true;
  set_->notify(0);
  pump_until([&] { return !broken_.empty(); });
  EXPECT_EQ(broken_[0].code, Errc::kBadIndexJump);
}

TEST_F(QueueSetTest, MayGoWhileReportsAreUnderWay) {
  add(0);
  set_->pause([] {});
  set_.reset();
  for (auto& late : std::exchange(posted_, {}))
    late();
}

}  // namespace
}  // namespace airlock::device
