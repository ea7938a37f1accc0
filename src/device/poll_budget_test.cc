// SPDX-License-Identifier: Apache-2.0
#include "device/poll_budget.h"

#include <gtest/gtest.h>

namespace airlock::device {
namespace {

using std::chrono::microseconds;

constexpr microseconds kLongest{50};

void miss(PollBudget& budget, microseconds idle, int times) {
  for (int i = 0; i < times; ++i)
    budget.missed(idle);
}

TEST(PollBudget, AQuietQueueIsNotPolledAtAll) {
  PollBudget budget(kLongest);
  EXPECT_EQ(budget.current(), kLongest);
  miss(budget, microseconds(10'000), 6);
  EXPECT_EQ(budget.current(), PollBudget::Duration::zero());
}

// A wake-up takes longer than the budget: it has to grow back all the same.
TEST(PollBudget, IsWholeAgainOnceWorkComesSoon) {
  PollBudget budget(kLongest);
  miss(budget, microseconds(10'000), 6);
  budget.missed(3 * kLongest);
  EXPECT_EQ(budget.current(), kLongest);
}

TEST(PollBudget, WorkThatComesAlwaysJustTooLateIsTriedForNowAndThenOnly) {
  PollBudget budget(kLongest);
  int whole = 0;
  for (int i = 0; i < 1024; ++i) {
    budget.missed(3 * kLongest);
    if (budget.current() == kLongest) ++whole;
  }
  EXPECT_GT(whole, 16);
  EXPECT_LT(whole, 128);
}

TEST(PollBudget, OneCatchMakesMissesCountAnew) {
  PollBudget budget(kLongest);
  miss(budget, 3 * kLongest, 40);
  EXPECT_LT(budget.current(), kLongest);
  budget.caught();
  budget.missed(3 * kLongest);
  EXPECT_EQ(budget.current(), kLongest);
}

}  // namespace
}  // namespace airlock::device
