// SPDX-License-Identifier: Apache-2.0
//
// Goal: a busy queue is polled, a quiet one is not, and no driver has more of a core polled away
// than was granted. Method: the rule alone, with times of our own.
#include "device/poll_budget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

namespace airlock::device {
namespace {

using namespace std::chrono_literals;
using std::chrono::microseconds;

constexpr microseconds kLongest{50};
constexpr PollBudget::Clock::time_point kStart = PollBudget::Clock::time_point() + 1h;

void miss(PollBudget& budget, microseconds idle, int times) {
  for (int i = 0; i < times; ++i)
    budget.missed(budget.open(kStart), idle);
}

TEST(PollBudget, AQuietQueueIsNotPolledAtAll) {
  PollBudget budget({.longest = kLongest});
  EXPECT_EQ(budget.open(kStart), kLongest);
  miss(budget, microseconds(10'000), 6);
  EXPECT_EQ(budget.open(kStart), 0us);
}

// A wake-up takes longer than the budget: it has to grow back all the same.
TEST(PollBudget, IsWholeAgainOnceWorkComesSoon) {
  PollBudget budget({.longest = kLongest});
  miss(budget, microseconds(10'000), 6);
  miss(budget, 3 * kLongest, 1);
  EXPECT_EQ(budget.open(kStart), kLongest);
}

TEST(PollBudget, WorkThatComesAlwaysJustTooLateIsTriedForNowAndThenOnly) {
  PollBudget budget({.longest = kLongest});
  int whole = 0;
  for (int i = 0; i < 1024; ++i) {
    miss(budget, 3 * kLongest, 1);
    if (budget.open(kStart) == kLongest) ++whole;
  }
  EXPECT_GT(whole, 16);
  EXPECT_LT(whole, 128);
}

TEST(PollBudget, OneCatchMakesMissesCountAnew) {
  PollBudget budget({.longest = kLongest});
  miss(budget, 3 * kLongest, 40);
  EXPECT_LT(budget.open(kStart), kLongest);
  budget.caught(1us);
  miss(budget, 3 * kLongest, 1);
  EXPECT_EQ(budget.open(kStart), kLongest);
}

/// A driver whose next request comes `gap` after the last answer, for `time`: how much of it was
/// polled in vain.
PollBudget::Duration polled_of(PollBudget& budget, microseconds gap, microseconds time) {
  constexpr microseconds kWork{1};
  PollBudget::Duration polled{};
  for (auto now = kStart; now < kStart + time; now += gap + kWork) {
    const auto open = budget.open(now);
    const auto spent = std::min<PollBudget::Duration>(open, gap);
    polled += spent;
    if (open > gap) {
      budget.caught(spent);
    } else {
      budget.missed(spent, gap);
    }
  }
  return polled;
}

// Neither one that is just in time nor one that is just too late.
TEST(PollBudget, NoDriverHasMoreThanItsShareOfACorePolledAway) {
  for (const unsigned percent : {5U, 20U, 80U}) {
    for (const auto gap : {1us, 10us, 49us, 51us, 150us, 1000us}) {
      PollBudget budget({.longest = kLongest, .cpu_percent = percent});
      EXPECT_LE(polled_of(budget, gap, 10s), (10s + CpuAllowance::kWindow) * percent / 100)
          << percent << " % with a request every " << gap.count() << " us";
    }
  }
}

TEST(PollBudget, ADriverThatIsJustInTimeHasAWholeCoreWhereNothingElseWasSaid) {
  PollBudget budget({.longest = kLongest});
  EXPECT_GT(polled_of(budget, 49us, 1s), 900ms);
}

TEST(PollBudget, PollsForItsShareAgainOnceThatHasComeIn) {
  PollBudget budget({.longest = kLongest, .cpu_percent = 20});
  EXPECT_GT(polled_of(budget, 49us, 10s), 1900ms);
}

// Having had to sleep says nothing of how soon work comes.
TEST(PollBudget, SleepsThatTheShareForcedDoNotMakeItPollLessLater) {
  PollBudget budget({.longest = kLongest, .cpu_percent = 20});
  budget.caught(20ms);
  (void)budget.open(kStart);
  budget.caught(20ms);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(budget.open(kStart), 0us);
    budget.missed(0us, 1000us);
  }
  EXPECT_EQ(budget.open(kStart + 1s), kLongest);
}

TEST(PollBudget, NothingGrantedNothingPolled) {
  PollBudget budget({.longest = kLongest, .cpu_percent = 0});
  EXPECT_EQ(polled_of(budget, 10us, 1s), 0us);
}

TEST(PollBudget, NapsAfterPollingForAsLongAsItMay) {
  PollBudget budget({.longest = kLongest, .naps_longest = 500us});
  EXPECT_EQ(budget.open(kStart), kLongest);
  EXPECT_TRUE(budget.naps(kLongest));
  EXPECT_TRUE(budget.naps(499us));
  EXPECT_FALSE(budget.naps(500us));
}

TEST(PollBudget, AQuietQueueDoesNotNapUntilWorkComesSoonAgain) {
  PollBudget budget({.longest = kLongest, .naps_longest = 500us});
  miss(budget, 1s, 16);
  EXPECT_FALSE(budget.naps(0us));
  miss(budget, 1ms, 1);
  EXPECT_TRUE(budget.naps(499us));
}

TEST(PollBudget, NeitherPollsNorNapsWhereNothingIsGranted) {
  for (const PollBudget::Limits& limits :
       {PollBudget::Limits{.longest = 0us, .naps_longest = 500us},
        PollBudget::Limits{.longest = kLongest, .naps_longest = 500us, .cpu_percent = 0}}) {
    PollBudget budget(limits);
    EXPECT_EQ(budget.open(kStart), 0us);
    EXPECT_FALSE(budget.naps(0us));
  }
}

/// Naps until `gap` is over, as a worker does; how many, and how late it found the work.
std::pair<unsigned, PollBudget::Duration> nap_through(PollBudget& budget, microseconds gap) {
  (void)budget.open(kStart);
  unsigned naps = 0;
  PollBudget::Duration idle{};
  for (; idle < gap && budget.naps(idle); ++naps)
    idle += budget.nap(idle, naps);
  budget.missed(0us, std::max<PollBudget::Duration>(idle, gap), naps);
  return {naps, idle - gap};
}

// It is known when work comes: few looks, and none long after.
TEST(PollBudget, TheFirstNapIsNearlyAsLongAsWorkStaysAway) {
  for (const microseconds gap : {60us, 130us, 200us}) {
    PollBudget budget({.longest = 1us, .naps_longest = 500us});
    for (int i = 0; i < 100; ++i)
      (void)nap_through(budget, gap);
    unsigned naps = 0;
    PollBudget::Duration late{};
    for (int i = 0; i < 100; ++i) {
      const auto [count, by] = nap_through(budget, gap);
      naps += count;
      late += by;
      EXPECT_LE(by, 40us);
    }
    EXPECT_LE(naps, 500U) << gap.count();
    EXPECT_LE(late, 100 * 20us) << gap.count();
  }
}

// Work that comes sooner than it used to is not waited for as long for ever.
TEST(PollBudget, TheFirstNapShrinksSoon) {
  PollBudget budget({.longest = 1us, .naps_longest = 500us});
  for (int i = 0; i < 100; ++i)
    (void)nap_through(budget, 400us);
  EXPECT_GT(budget.nap(0us, 0), 200us);
  for (int i = 0; i < 8; ++i)
    (void)nap_through(budget, 10us);
  EXPECT_EQ(budget.nap(0us, 0), PollBudget::kFirstNap);
}

// However long it may nap, and however long it has.
TEST(PollBudget, NoNapIsLongerThanAMillisecond) {
  PollBudget budget({.longest = 1us, .naps_longest = 1h});
  for (int i = 0; i < 1000; ++i)
    (void)nap_through(budget, 100ms);
  EXPECT_EQ(budget.nap(0us, 0), 1ms);
  EXPECT_EQ(budget.nap(1h, 5), 1ms);
  EXPECT_EQ(budget.nap(0us, 1), PollBudget::kLook);
}

// At what a nap is taken to cost, 5 us of every 40, a share of 5 % is used up.
TEST(PollBudget, NapsAreOfTheShareToo) {
  PollBudget budget({.longest = 1us, .naps_longest = 500us, .cpu_percent = 5});
  int naps = 0;
  for (auto now = kStart; now < kStart + 10s; now += 400us) {
    (void)budget.open(now);
    const unsigned taken = budget.naps(0us) ? 10 : 0;
    naps += static_cast<int>(taken);
    budget.missed(0us, 400us, taken);
  }
  EXPECT_LE(naps * 5us, (10s + CpuAllowance::kWindow) * 5 / 100 + 50us);
  EXPECT_GT(naps * 5us, 10s * 4 / 100);
}

}  // namespace
}  // namespace airlock::device
