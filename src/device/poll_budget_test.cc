// SPDX-License-Identifier: Apache-2.0
#include "device/poll_budget.h"

#include <gtest/gtest.h>

namespace airlock::device {
namespace {

using std::chrono::microseconds;

TEST(PollBudget, PollingInVainEndsInNoPollingAtAll) {
  PollBudget budget(microseconds(50));
  EXPECT_EQ(budget.current(), microseconds(50));
  for (int i = 0; i < 16; ++i)
    budget.polled_in_vain();
  EXPECT_EQ(budget.current(), PollBudget::Duration::zero());
}

TEST(PollBudget, GrowsBackWhenSleepingWasTheWrongChoiceAndStopsAtItsLongest) {
  PollBudget budget(microseconds(50));
  for (int i = 0; i < 16; ++i)
    budget.polled_in_vain();
  for (int i = 0; i < 16; ++i)
    budget.woken_after(microseconds(10));
  EXPECT_EQ(budget.current(), microseconds(50));
}

TEST(PollBudget, StaysWhereLongSleepsShowThatPollingWouldNotHelp) {
  PollBudget budget(microseconds(50));
  for (int i = 0; i < 16; ++i)
    budget.polled_in_vain();
  budget.woken_after(microseconds(1000));
  EXPECT_EQ(budget.current(), PollBudget::Duration::zero());
}

}  // namespace
}  // namespace airlock::device
