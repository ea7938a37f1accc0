// SPDX-License-Identifier: Apache-2.0
//
// Goal: a driver that goes on by itself is interrupted seldom, one that waits is not kept waiting.
// Method: the rule alone, with times of our own, and a driver that keeps so many requests in
// flight.
#include "device/interrupt_moderation.h"

#include <gtest/gtest.h>

namespace airlock::device {
namespace {

using namespace std::chrono_literals;
using Duration = InterruptModeration::Duration;

/// A driver that submits its requests one by one, `kGap` apart, and has `depth` of them. Each is
/// answered at once; when it has no more to submit it waits for an interrupt.
class Driver {
 public:
  explicit Driver(unsigned depth) : depth_(depth) {}

  static constexpr Duration kGap = 10us;

  void submit(int requests) {
    for (int i = 0; i < requests; ++i) {
      if (unseen_ == depth_) wait();
      now_ += kGap;
      ++unseen_;
      if (moderation_.shown(1, now_)) see();
    }
  }

  void pause() {
    if (moderation_.idle(1ms)) see();
    now_ += 1ms;
  }

  InterruptModeration& moderation() { return moderation_; }
  [[nodiscard]] InterruptModeration::Clock::time_point now() const { return now_; }
  [[nodiscard]] int interrupts() const { return interrupts_; }
  [[nodiscard]] int waits() const { return waits_; }
  /// Starts counting anew.
  void forget() { interrupts_ = waits_ = 0; }

 private:
  void see() {
    ++interrupts_;
    unseen_ = 0;
  }
  void wait() {
    ++waits_;
    Duration idle = 0us;
    while (!moderation_.idle(idle)) {
      ASSERT_TRUE(moderation_.holds());
      ASSERT_LE(idle, InterruptModeration::kLongest);
      idle += 1us;
    }
    now_ += idle;
    see();
  }

  unsigned depth_;
  InterruptModeration moderation_;
  InterruptModeration::Clock::time_point now_ = InterruptModeration::Clock::time_point() + 1h;
  unsigned unseen_ = 0;  // answers that the driver was not interrupted for
  int interrupts_ = 0;
  int waits_ = 0;
};

TEST(InterruptModeration, ADriverThatGoesOnIsInterruptedForSixteenAnswers) {
  Driver driver(32);
  driver.submit(1000);
  driver.forget();
  driver.submit(1600);
  EXPECT_EQ(driver.interrupts(), 100);
  EXPECT_EQ(driver.waits(), 0);
}

TEST(InterruptModeration, ADriverWithOneRequestIsSeldomKeptWaiting) {
  Driver driver(1);
  driver.submit(10'000);
  EXPECT_GE(driver.interrupts(), 9'999);  // the last one may still be owed
  EXPECT_LT(driver.waits(), 30);
}

// And waits no more often than a driver with one, though more is tried before it does.
TEST(InterruptModeration, ADriverWithFewRequestsIsInterruptedInTime) {
  for (const unsigned depth : {2U, 3U, 4U, 8U, 15U}) {
    Driver driver(depth);
    driver.submit(10'000);
    driver.forget();
    driver.submit(10'000);
    EXPECT_LT(driver.waits(), 15) << depth;
    EXPECT_LE(driver.interrupts(), 10'000 / static_cast<int>((depth + 1) / 2)) << depth;
  }
}

// One that has answers to look at submits nothing meanwhile, and is not waiting.
TEST(InterruptModeration, ADriverThatPausesIsNotTakenForOneThatWaits) {
  Driver driver(32);
  driver.submit(1000);
  driver.forget();
  for (int i = 0; i < 100; ++i) {
    driver.submit(20);
    driver.pause();
  }
  EXPECT_LE(driver.interrupts(), 210);
}

TEST(InterruptModeration, FollowsADriverThatChanges) {
  Driver deep(32);
  deep.submit(1000);
  InterruptModeration& moderation = deep.moderation();
  auto now = deep.now();
  int waits = 0;
  for (int i = 0; i < 100; ++i) {
    if (!moderation.shown(1, now += 50us) && moderation.idle(Duration::max())) ++waits;
  }
  EXPECT_LE(waits, 8);  // two at 16, 8, 4 and 2
  int interrupts = 0;
  for (int i = 0; i < 1600; ++i)
    interrupts += moderation.shown(1, now += 10us) ? 1 : 0;
  EXPECT_LT(interrupts, 700);
}

TEST(InterruptModeration, WaitsForThreeGaps) {
  for (const auto& [gap, patience] : {std::pair{1us, 16us}, {20us, 60us}, {1000us, 398us}}) {
    InterruptModeration moderation;
    auto now = InterruptModeration::Clock::time_point() + 1h;
    while (moderation.shown(1, now += gap)) {
    }
    for (int i = 0; i < 200 || !moderation.holds(); ++i)
      static_cast<void>(moderation.shown(1, now += gap));
    ASSERT_TRUE(moderation.holds());
    EXPECT_FALSE(moderation.idle(patience * 9 / 10)) << gap;
    EXPECT_TRUE(moderation.idle(patience * 11 / 10)) << gap;
  }
}

TEST(InterruptModeration, OwesNothingOnceItIsGiven) {
  InterruptModeration moderation;
  const auto now = InterruptModeration::Clock::time_point() + 1h;
  EXPECT_FALSE(moderation.idle(Duration::max()));
  EXPECT_TRUE(moderation.shown(1, now));
  EXPECT_FALSE(moderation.holds());
  EXPECT_FALSE(moderation.shown(1, now));
  EXPECT_TRUE(moderation.holds());
  EXPECT_TRUE(moderation.idle(Duration::max()));
  EXPECT_FALSE(moderation.holds());
  EXPECT_FALSE(moderation.idle(Duration::max()));
}

// As many as make it due, and more, in one batch.
TEST(InterruptModeration, ABatchIsNotHeldBack) {
  InterruptModeration moderation;
  auto now = InterruptModeration::Clock::time_point() + 1h;
  for (int i = 0; i < 100; ++i)
    EXPECT_TRUE(moderation.shown(InterruptModeration::kMost, now += 1us));
}

}  // namespace
}  // namespace airlock::device
