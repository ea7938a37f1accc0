// SPDX-License-Identifier: Apache-2.0
//
// Goal: of no stretch of time more is spent than the share and what one window saved up. Method: a
// clock that the test moves.
#include "base/cpu_allowance.h"

#include <gtest/gtest.h>

namespace airlock {
namespace {

using namespace std::chrono_literals;

class CpuAllowanceTest : public ::testing::Test {
 protected:
  /// Spends all that there is, in pieces of `piece`, looking every `step` for `time`.
  CpuAllowance::Duration spend_for(CpuAllowance& allowance, CpuAllowance::Duration time,
                                   CpuAllowance::Duration piece, CpuAllowance::Duration step) {
    CpuAllowance::Duration spent{};
    for (const auto end = now_ + time; now_ < end;) {
      const bool enough = allowance.left(now_) >= piece;
      if (enough) {
        allowance.spend(piece);
        spent += piece;
      }
      now_ += enough ? piece : step;
    }
    return spent;
  }

  CpuAllowance::Clock::time_point now_ = CpuAllowance::Clock::time_point() + 1h;
};

TEST_F(CpuAllowanceTest, GivesItsShareAndWhatAWindowSavedAndNotMore) {
  for (const unsigned percent : {1U, 20U, 50U, 99U}) {
    CpuAllowance allowance(percent, 100us);
    const auto spent = spend_for(allowance, 10s, 100us, 10us);
    const CpuAllowance::Duration share = 100ms * percent;
    EXPECT_LE(spent, share + CpuAllowance::kWindow * percent / 100) << percent;
    EXPECT_GE(spent, share * 9 / 10) << percent;
  }
}

TEST_F(CpuAllowanceTest, SavesOneWindowAtMost) {
  CpuAllowance allowance(20, 100us);
  EXPECT_EQ(allowance.left(now_), 20ms);
  allowance.spend(20ms);
  EXPECT_EQ(allowance.left(now_), 0ms);
  EXPECT_EQ(allowance.left(now_ + 50ms), 10ms);
  now_ += 1h;
  EXPECT_EQ(allowance.left(now_), 20ms);
  now_ += 24h * 365 * 100;
  EXPECT_EQ(allowance.left(now_), 20ms);
}

TEST_F(CpuAllowanceTest, WhatWasSpentBeyondItIsMadeUpForFirst) {
  CpuAllowance allowance(20, 100us);
  EXPECT_EQ(allowance.left(now_), 20ms);
  allowance.spend(30ms);
  EXPECT_EQ(allowance.left(now_ + 50ms), 0ms);
  EXPECT_EQ(allowance.left(now_ + 55ms), 1ms);
}

TEST_F(CpuAllowanceTest, SavesUpForOnePieceHoweverLarge) {
  CpuAllowance allowance(1, 5ms);  // a window brings 1 ms
  EXPECT_EQ(allowance.left(now_), 5ms);
  allowance.spend(5ms);
  EXPECT_EQ(allowance.left(now_ + 499ms), 4990us);
  EXPECT_EQ(allowance.left(now_ + 500ms), 5ms);
}

TEST_F(CpuAllowanceTest, NothingIsNothing) {
  CpuAllowance allowance(0, 100us);
  EXPECT_EQ(allowance.left(now_), 0ms);
  EXPECT_EQ(allowance.left(now_ + 48h), 0ms);
}

TEST_F(CpuAllowanceTest, AWholeCoreIsNoLimit) {
  EXPECT_FALSE(CpuAllowance(100, 100us).limited());
  EXPECT_TRUE(CpuAllowance(99, 100us).limited());
}

TEST_F(CpuAllowanceTest, BearsAClockThatStandsStill) {
  CpuAllowance allowance(20, 100us);
  allowance.spend(20ms);
  EXPECT_EQ(allowance.left(now_), 20ms);  // the first look, an hour after the epoch
  allowance.spend(20ms);
  EXPECT_EQ(allowance.left(now_ - 1s), 0ms);
}

}  // namespace
}  // namespace airlock
