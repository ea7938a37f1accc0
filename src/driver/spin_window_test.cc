// SPDX-License-Identifier: Apache-2.0
//
// Goal: a wait looks at the ring for long enough to catch a device at work or one that was woken,
// and does not burn a processor over a slow one. Method: the rule alone, with times of our own.
#include "driver/spin_window.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace airlock::driver {
namespace {

using namespace std::chrono_literals;

constexpr SpinWindow::Clock::time_point kStart{};

void let_it_fail(SpinWindow& window, unsigned times) {
  for (unsigned i = 0; i < times; i++)
    window.in_vain();
}

TEST(SpinWindow, ClosesAfterItsTime) {
  SpinWindow window(50us);
  window.open(kStart);
  EXPECT_TRUE(window.is_open(kStart + 49us, false));
  EXPECT_FALSE(window.is_open(kStart + 50us, false));
}

TEST(SpinWindow, OpensAnewWithEachProgress) {
  SpinWindow window(50us);
  window.open(kStart);
  window.open(kStart + 40us);
  EXPECT_TRUE(window.is_open(kStart + 89us, false));
  EXPECT_FALSE(window.is_open(kStart + 90us, false));
}

TEST(SpinWindow, GivesADeviceThatWasNotifiedTheTimeToWakeUp) {
  SpinWindow window(50us);
  window.open(kStart);
  EXPECT_TRUE(window.is_open(kStart + 99us, true));
  EXPECT_FALSE(window.is_open(kStart + 100us, true));
}

TEST(SpinWindow, IsNeverOpenWithoutALength) {
  SpinWindow window(0us);
  window.open(kStart);
  EXPECT_FALSE(window.is_open(kStart, false));
  EXPECT_FALSE(window.is_open(kStart, true));
}

TEST(SpinWindow, StaysClosedForASlowDevice) {
  SpinWindow window(50us);
  window.open(kStart);
  let_it_fail(window, SpinWindow::kVainMax - 1);
  EXPECT_TRUE(window.is_open(kStart, false));
  let_it_fail(window, 1);
  EXPECT_FALSE(window.is_open(kStart, false));
  EXPECT_FALSE(window.is_open(kStart, true));
}

// Who never tries would never learn that the device has become quick.
TEST(SpinWindow, TriesOnceInAWhileAndThenBelievesWhatItSees) {
  SpinWindow window(50us);
  window.open(kStart);
  unsigned tries = 0;
  let_it_fail(window, SpinWindow::kVainMax);
  for (unsigned i = 0; i < 10 * SpinWindow::kTryEvery; i++) {
    if (window.is_open(kStart, false)) tries++;
    window.in_vain();
  }
  EXPECT_EQ(tries, 10U);
  window.caught();
  EXPECT_TRUE(window.is_open(kStart, false));
}

/// A device that returns something `gap` after each request, for `time`: how much of it was spent
/// on looks in vain, each microsecond, up to the last of them or a sleep.
std::chrono::microseconds looked_of(SpinWindow& window, std::chrono::microseconds gap,
                                    std::chrono::microseconds time) {
  std::chrono::microseconds looked{};
  for (auto now = kStart + 1h; now < kStart + 1h + time;) {
    window.open(now);
    const auto since = now;
    const auto next = now + gap;
    while (now < next && window.is_open(now, false))
      now += 1us;
    looked +=
        std::chrono::duration_cast<std::chrono::microseconds>(std::max(now - 1us, since) - since);
    if (now >= next) {
      window.caught();
    } else {
      window.in_vain();
    }
    now = next + 1us;
  }
  return looked;
}

// Neither one that is just in time nor one that is just too late.
TEST(SpinWindow, NoDeviceHasMoreThanItsShareOfACoreLookedAway) {
  for (const auto gap : {5us, 49us, 60us, 200us}) {
    SpinWindow window(50us, 20);
    EXPECT_LE(looked_of(window, gap, 5s), (5s + CpuAllowance::kWindow) / 5) << gap.count();
  }
}

TEST(SpinWindow, OpensAgainOnceItsShareHasComeIn) {
  SpinWindow window(50us, 20);
  EXPECT_GT(looked_of(window, 49us, 5s), 900ms);
}

TEST(SpinWindow, ADeviceThatIsJustInTimeHasAWholeCoreWhereNothingElseWasSaid) {
  SpinWindow window(50us);
  EXPECT_GT(looked_of(window, 49us, 1s), 900ms);
}

TEST(SpinWindow, StaysClosedWhereNothingIsGranted) {
  SpinWindow window(50us, 0);
  EXPECT_EQ(looked_of(window, 10us, 1s), 0us);
}

}  // namespace
}  // namespace airlock::driver
