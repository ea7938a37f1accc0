// SPDX-License-Identifier: Apache-2.0
#include "base/fifo.h"

#include <array>
#include <deque>
#include <random>

#include <gtest/gtest.h>

namespace airlock {
namespace {

TEST(Fifo, GivesBackInOrderWhatItTook) {
  Fifo<int> fifo;
  EXPECT_TRUE(fifo.empty());
  for (int i = 0; i < 3; ++i)
    fifo.push_back(i);
  EXPECT_EQ(fifo.size(), 3U);
  EXPECT_EQ(fifo.front(), 0);
  fifo.pop_front();
  EXPECT_EQ(fifo.front(), 1);
  EXPECT_EQ(*std::next(fifo.begin()), 2);
  fifo.erase(std::next(fifo.begin()));
  EXPECT_EQ(fifo.size(), 1U);
  fifo.clear();
  EXPECT_TRUE(fifo.empty());
}

TEST(Fifo, FillsWhatThereIsRoomFor) {
  Fifo<int> fifo;
  for (int i = 0; i < 3; ++i)
    fifo.push_back(i);
  std::array<int, 2> target{};
  EXPECT_EQ(fifo.take(target), 2U);
  EXPECT_EQ(target, (std::array{0, 1}));
  EXPECT_EQ(fifo.take(target), 1U);
  EXPECT_EQ(target, (std::array{2, 1}));
  EXPECT_EQ(fifo.take(target), 0U);
}

TEST(Fifo, AgreesWithADeque) {
  std::mt19937 random(1);
  Fifo<unsigned> fifo;
  std::deque<unsigned> model;
  for (int step = 0; step < 100'000; ++step) {
    if (random() % 100 < (step / 1000 % 2 == 0 ? 55U : 45U)) {
      const auto item = static_cast<unsigned>(random());
      fifo.push_back(item);
      model.push_back(item);
    } else if (!model.empty()) {
      ASSERT_EQ(fifo.front(), model.front());
      fifo.pop_front();
      model.pop_front();
    }
    ASSERT_EQ(fifo.size(), model.size());
  }
  EXPECT_TRUE(std::ranges::equal(fifo, model));
}

TEST(Fifo, AQueueThatNeverRunsEmptyKeepsItsMemory) {
  Fifo<int> fifo;
  fifo.reserve(8);
  for (int i = 0; i < 4; ++i)
    fifo.push_back(i);
  const int* const memory = &fifo.front();
  for (int i = 0; i < 10'000; ++i) {
    fifo.push_back(i);
    fifo.pop_front();
    ASSERT_GE(&fifo.front(), memory);
    ASSERT_LT(&fifo.front(), memory + 8);
  }
}

TEST(FifoDeathTest, HasNothingToTakeWhenEmpty) {
  Fifo<int> fifo;
  EXPECT_DEATH(fifo.pop_front(), "bug:");
}

}  // namespace
}  // namespace airlock
