// SPDX-License-Identifier: Apache-2.0
//
// Goal: one thread at a time is inside, whoever leads, and what one did there the next one sees.
// Method: who leads, step by step; then threads that add to a plain number, most of it in long
// runs, so that the lead is given and taken away again and again (run under tsan).
#include "pool/biased_lock.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace airlock::pool {
namespace {

void take(BiasedLock& lock, std::uint32_t times) {
  for (std::uint32_t i = 0; i < times; i++) {
    const BiasedLock::Hold held(lock);
  }
}

TEST(BiasedLock, LeansTowardsWhoTookItOftenInARow) {
  BiasedLock lock;
  take(lock, BiasedLock::kStreak - 1);
  EXPECT_FALSE(lock.is_led_by_this_thread());
  take(lock, 1);
  EXPECT_TRUE(lock.is_led_by_this_thread());
  std::jthread([&] {
    EXPECT_FALSE(lock.is_led_by_this_thread());
    take(lock, 1);
  }).join();
  EXPECT_FALSE(lock.is_led_by_this_thread());
  take(lock, BiasedLock::kStreak - 1);
  EXPECT_FALSE(lock.is_led_by_this_thread());
  take(lock, 1);
  EXPECT_TRUE(lock.is_led_by_this_thread());
}

TEST(BiasedLock, AStreakEndsWhereAnotherThreadComesBetween) {
  BiasedLock lock;
  take(lock, BiasedLock::kStreak - 1);
  std::jthread([&] { take(lock, 1); }).join();
  take(lock, BiasedLock::kStreak - 1);
  EXPECT_FALSE(lock.is_led_by_this_thread());
}

TEST(BiasedLock, IsAMutexForWhoComesAfterTheLastLeader) {
  BiasedLock lock;
  for (std::size_t i = 0; i < BiasedLock::kLeaders; i++) {
    std::jthread([&] {
      take(lock, BiasedLock::kStreak);
      EXPECT_TRUE(lock.is_led_by_this_thread());
    }).join();
  }
  take(lock, 2 * BiasedLock::kStreak);
  EXPECT_FALSE(lock.is_led_by_this_thread());
}

TEST(BiasedLock, WaitsForALeaderWhoIsInside) {
  BiasedLock lock;
  take(lock, BiasedLock::kStreak);
  std::atomic<bool> entered{false};
  std::jthread other;
  {
    const BiasedLock::Hold held(lock);
    other = std::jthread([&] {
      const BiasedLock::Hold other_held(lock);
      entered = true;
    });
    while (lock.is_led_by_this_thread())
      std::this_thread::yield();
    // Whoever doesn't wait comes within so many turns.
    for (int i = 0; i < 1000; i++) {
      EXPECT_FALSE(entered);
      std::this_thread::yield();
    }
  }
  other.join();
  EXPECT_TRUE(entered);
}

TEST(BiasedLock, ThreadsCountTogetherWithoutLosingAny) {
  constexpr int kThreads = 3;
  constexpr int kRounds = 20;
  constexpr std::uint32_t kRun = 2 * BiasedLock::kStreak;
  BiasedLock lock;
  std::uint64_t sum = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; i++) {
      threads.emplace_back([&] {
        for (int round = 0; round < kRounds; round++) {
          for (std::uint32_t n = 0; n < kRun; n++) {
            const BiasedLock::Hold held(lock);
            sum++;
          }
          std::this_thread::yield();
        }
      });
    }
  }
  EXPECT_EQ(sum, std::uint64_t{kThreads} * kRounds * kRun);
}

}  // namespace
}  // namespace airlock::pool
