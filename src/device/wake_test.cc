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

/// Looks so closely that it sees what is there for less than a system call; now and then it lets
/// others run, where processors are few.
template <class Condition>
void wait_until(Condition condition) {
  constexpr unsigned kLooksAtOnce = 512;
  for (unsigned looks = 1; !condition(); ++looks) {
    if (looks % kLooksAtOnce == 0) {
      std::this_thread::yield();
    } else {
      relax();
    }
  }
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
  constexpr unsigned kRounds = 5'000;
  Wake wake = MUST(Wake::create());
  std::atomic<unsigned> asked = 0;
  std::atomic<unsigned> signalled = 0;
  std::thread signaller([&] {
    for (unsigned round = 1; round <= kRounds; ++round) {
      wait_until([&] { return asked.load() == round; });
      wake.signal();
      signalled = round;
    }
  });
  unsigned spins = 0;
  for (unsigned round = 1; round <= kRounds; ++round) {
    asked = round;
    wait_until([&] { return wake.take(); });
    wait_until([&] { return signalled.load() == round; });
    while (wake.take()) {
    }
    if (readable(wake)) ++spins;
  }
  signaller.join();
  EXPECT_EQ(spins, 0U);
}

}  // namespace
}  // namespace airlock::device
