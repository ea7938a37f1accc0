// SPDX-License-Identifier: Apache-2.0
//
// Goal: quick looks at first, few later, and no more at the beginning where they have not paid.
// Method: a clock that the test moves.
#include "driver/poll_pace.h"

#include <gtest/gtest.h>

namespace airlock::driver {
namespace {

using namespace std::chrono_literals;

class PollPaceTest : public ::testing::Test {
 protected:
  PollPaceTest() { pace_.start(now_); }
  std::chrono::microseconds pause_after(std::chrono::microseconds waited) {
    return pace_.pause(now_ + waited);
  }
  void wait(std::chrono::microseconds time) {
    now_ += time;
    pace_.came(now_);
  }

  PollPace pace_{50us};
  PollPace::Clock::time_point now_ = PollPace::Clock::time_point() + 1h;
};

TEST_F(PollPaceTest, LooksWithoutAPauseAtFirst) {
  EXPECT_EQ(pause_after(0us), 0us);
  EXPECT_EQ(pause_after(49us), 0us);
  EXPECT_GT(pause_after(50us), 0us);
}

TEST_F(PollPaceTest, PausesGrowWithTheTimeWaited) {
  EXPECT_EQ(pause_after(50us), PollPace::kShortest);
  EXPECT_EQ(pause_after(800us), 200us);
  EXPECT_EQ(pause_after(8ms), 2ms);
  EXPECT_EQ(pause_after(1s), PollPace::kLongest);
}

TEST_F(PollPaceTest, AMinuteIsWaitedForInFewLooks) {
  int looks = 0;
  for (auto waited = 0us; waited < 60s; looks++)
    waited += std::max(pause_after(waited), 1us);
  EXPECT_LT(looks, 60s / PollPace::kLongest + 200);
}

TEST_F(PollPaceTest, LeavesTheQuickLooksOutWhereWaitsAreLong) {
  for (int i = 0; i < 64; i++)
    wait(10ms);
  EXPECT_NEAR(static_cast<double>(pause_after(0us).count()), 2500, 10);
  EXPECT_NEAR(static_cast<double>(pause_after(1ms).count()), 1500, 10);
  EXPECT_EQ(pause_after(8ms), 2ms);
  for (int i = 0; i < 64; i++)
    wait(10us);
  EXPECT_EQ(pause_after(0us), 0us);
}

TEST_F(PollPaceTest, OneLongWaitAmongShortOnesChangesNothing) {
  for (int i = 0; i < 32; i++)
    wait(10us);
  wait(500us);
  EXPECT_EQ(pause_after(0us), 0us);
}

TEST_F(PollPaceTest, BearsAClockThatStandsStill) {
  EXPECT_EQ(pace_.pause(now_ - 1s), 0us);
  pace_.came(now_ - 1s);
  EXPECT_EQ(pace_.pause(now_ - 1s), 0us);
}

}  // namespace
}  // namespace airlock::driver
