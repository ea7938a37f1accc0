// SPDX-License-Identifier: Apache-2.0
//
// Goal: a driver whom interrupts slow down gets few of them, and no other is kept waiting. Method:
// the rule alone, with times of our own, and drivers of several kinds.
#include "device/interrupt_moderation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

namespace airlock::device {
namespace {

using namespace std::chrono_literals;
using Clock = InterruptModeration::Clock;
using Duration = InterruptModeration::Duration;

constexpr Clock::time_point kStart = Clock::time_point() + 1h;

/// Submits a request each `gap`, answered at once, and spends `cost` on each interrupt. It has
/// `depth` requests; with all of them answered and no interrupt for it, it waits.
class Driver {
 public:
  struct Kind {
    unsigned depth = 32;
    Duration gap = 60us;
    Duration cost = 40us;
  };
  explicit Driver(const Kind& kind) : kind_(kind) {}

  void submit(int requests) {
    for (int i = 0; i < requests; ++i) {
      if (unseen_ == kind_.depth) wait();
      now_ += kind_.gap;
      ++unseen_;
      moderation_.answered(1);
      if (moderation_.shown(1, now_)) see();
    }
  }
  /// What it does for that long, it is not waiting.
  void pause(Duration time) {
    if (moderation_.idle(time)) see();
    now_ += time;
  }

  void become(const Kind& kind) { kind_ = kind; }
  [[nodiscard]] int interrupts() const { return interrupts_; }
  [[nodiscard]] int waits() const { return waits_; }
  [[nodiscard]] Duration time() const { return now_ - counting_since_; }
  /// Starts counting anew.
  void forget() {
    interrupts_ = waits_ = 0;
    counting_since_ = now_;
  }

 private:
  void see() {
    ++interrupts_;
    unseen_ = 0;
    now_ += kind_.cost;
  }
  void wait() {
    ++waits_;
    Duration idle = 0us;
    while (!moderation_.idle(idle)) {
      ASSERT_TRUE(moderation_.holds());
      ASSERT_LE(idle, InterruptModeration::kMostGap);
      idle += 1us;
    }
    now_ += idle;
    see();
  }

  Kind kind_;
  InterruptModeration moderation_;
  Clock::time_point now_ = kStart;
  Clock::time_point counting_since_ = kStart;
  unsigned unseen_ = 0;  // answers that the driver was not interrupted for
  int interrupts_ = 0;
  int waits_ = 0;
};

TEST(InterruptModeration, ADriverThatInterruptsSlowDownGetsFew) {
  Driver driver({});
  driver.submit(5000);
  driver.forget();
  driver.submit(20'000);
  EXPECT_LT(driver.interrupts(), 20'000 / 6);
  EXPECT_EQ(driver.waits(), 0);
}

// It would not mind, but whoever waits for what it submits.
TEST(InterruptModeration, ADriverThatGoesByTheClockIsNotDelayed) {
  Driver driver({.gap = 100us, .cost = 0us});
  driver.submit(5000);
  driver.forget();
  driver.submit(100'000);
  EXPECT_GT(driver.interrupts(), 99'000);
}

TEST(InterruptModeration, ADriverWithOneRequestIsSeldomKeptWaiting) {
  Driver driver({.depth = 1});
  driver.submit(5000);
  driver.forget();
  driver.submit(100'000);
  EXPECT_LT(driver.waits(), 100);  // not one in a thousand
}

// However many it has, it is no slower than with an interrupt for each answer.
TEST(InterruptModeration, ADriverWithFewRequestsIsNotSlower) {
  for (const unsigned depth : {2U, 3U, 4U, 8U, 15U, 16U, 17U, 20U}) {
    for (const Duration cost : {Duration(0us), Duration(40us)}) {
      const Driver::Kind kind{.depth = depth, .cost = cost};
      Driver driver(kind);
      driver.submit(5000);
      driver.forget();
      driver.submit(100'000);
      EXPECT_LT(driver.time(), 100'000 * (kind.gap + kind.cost) * 101 / 100) << depth;
    }
  }
}

TEST(InterruptModeration, ADriverThatPausesIsNotTakenForOneThatWaits) {
  Driver driver({});
  driver.submit(5000);
  driver.forget();
  for (int i = 0; i < 1000; ++i) {
    driver.submit(20);
    driver.pause(1ms);
  }
  EXPECT_LT(driver.interrupts(), 20'000 / 3);
}

TEST(InterruptModeration, FollowsADriverThatChanges) {
  Driver driver({.depth = 1, .gap = 300us});
  driver.submit(100'000);
  driver.become({});
  driver.submit(3000);
  driver.forget();
  driver.submit(3000);
  EXPECT_LT(driver.interrupts(), 1500);
  driver.become({.depth = 1, .gap = 300us});
  driver.forget();
  driver.submit(1000);
  EXPECT_LT(driver.waits(), 40);
}

/// With an interrupt held back, by answers `gap` apart.
InterruptModeration holding(Duration gap, Clock::time_point& now) {
  InterruptModeration moderation;
  do {
    moderation.answered(1);
  } while (moderation.shown(1, now += gap));
  return moderation;
}

TEST(InterruptModeration, WaitsForThreeGaps) {
  for (const auto& [gap, patience] : {std::pair{1us, 16us}, {20us, 60us}, {1000us, 400us}}) {
    auto now = kStart;
    InterruptModeration moderation = holding(gap, now);
    EXPECT_FALSE(moderation.idle(patience * 9 / 10)) << gap;
    EXPECT_TRUE(moderation.idle(patience * 11 / 10)) << gap;
  }
}

// Though the next answer always comes in time, and whatever is tried.
TEST(InterruptModeration, WaitsNoLongerThanAMillisecondInAll) {
  InterruptModeration moderation;
  auto now = kStart;
  auto owed_since = now;
  Duration longest = 0us;
  for (int i = 0; i < 20'000; ++i) {
    // Faster with fewer interrupts: more answers for each are tried.
    now += moderation.holds() ? 300us : 390us;
    if (!moderation.holds()) owed_since = now;
    moderation.answered(1);
    if (moderation.shown(1, now)) longest = std::max<Duration>(longest, now - owed_since);
  }
  EXPECT_GE(longest, InterruptModeration::kLongest);
  EXPECT_LT(longest, InterruptModeration::kLongest + 300us);
}

TEST(InterruptModeration, OwesNothingOnceItIsGiven) {
  auto now = kStart;
  InterruptModeration moderation;
  EXPECT_FALSE(moderation.idle(Duration::max()));
  EXPECT_FALSE(moderation.give());
  moderation = holding(10us, now);
  EXPECT_TRUE(moderation.holds());
  EXPECT_TRUE(moderation.idle(Duration::max()));
  EXPECT_FALSE(moderation.holds());
  EXPECT_FALSE(moderation.idle(Duration::max()));
  moderation = holding(10us, now);
  EXPECT_TRUE(moderation.give());
  EXPECT_FALSE(moderation.holds());
  EXPECT_FALSE(moderation.give());
}

}  // namespace
}  // namespace airlock::device
