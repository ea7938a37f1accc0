// SPDX-License-Identifier: Apache-2.0
#include "device/wake.h"

#include <poll.h>

#include <atomic>
#include <thread>

#include <gtest/gtest.h>

#include "base/check.h"
#include "base/relax.h"

namespace airlock::device {
namespace {

bool readable(const Wake& wake) {
  pollfd fd{.fd = wake.fd(), .events = POLLIN, .revents = 0};
  return ::poll(&fd, 1, 0) == 1;
}

TEST(Wake, IsTakenOnceHoweverOftenSignalled) {
  Wake wake = MUST(Wake::create());
  EXPECT_FALSE(wake.take());
  EXPECT_FALSE(readable(wake));
  wake.signal();
  wake.signal();
  EXPECT_TRUE(readable(wake));
  EXPECT_TRUE(wake.take());
  EXPECT_FALSE(readable(wake));
  EXPECT_FALSE(wake.take());
}

// One who looks between the two halves of signal() takes what has no event yet: that event has to
// find somebody who takes it too, or who waits for it would spin until the next signal.
TEST(Wake, LetsItsWaiterSleepWhoeverLookedWhileItWasSignalled) {
  constexpr unsigned kRounds = 50'000;
  Wake wake = MUST(Wake::create());
  std::atomic<unsigned> asked = 0;
  std::atomic<unsigned> signalled = 0;
  std::thread signaller([&] {
    for (unsigned round = 1; round <= kRounds; ++round) {
      while (asked.load() != round)
        relax();
      wake.signal();
      signalled = round;
    }
  });
  unsigned spins = 0;
  for (unsigned round = 1; round <= kRounds; ++round) {
    asked = round;
    while (!wake.take())
      relax();
    while (signalled.load() != round)
      relax();
    while (wake.take()) {
    }
    if (readable(wake)) ++spins;
  }
  signaller.join();
  EXPECT_EQ(spins, 0U);
}

}  // namespace
}  // namespace airlock::device
