// SPDX-License-Identifier: Apache-2.0
//
// Goal: a canary word says where it is from, and nothing else passes for one. Method: there and
// back; words of another key, and those that memory is full of.
#include "compare/canary.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "compare/sight.h"
#include "shm/sealed_memfd.h"

namespace airlock::compare {
namespace {

constexpr std::uint64_t kKey = 0x0123'4567'89ab'cdef;
constexpr std::uint64_t kWords = 1 << 20;

TEST(Canary, AWordSaysWhereItIsFrom) {
  const Canary canary(kKey);
  for (const std::uint64_t index :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{4711}, kWords - 1})
    EXPECT_EQ(canary.index_of(canary.word(index), kWords), index);
  EXPECT_FALSE(canary.index_of(canary.word(kWords), kWords));
}

TEST(Canary, WhatIsNoneOfItsWordsIsFoundNowhere) {
  const Canary canary(kKey);
  for (std::uint64_t other = 0; other < 10'000; ++other) {
    EXPECT_FALSE(canary.index_of(other, kWords));
    EXPECT_FALSE(canary.index_of(~other, kWords));
    EXPECT_FALSE(canary.index_of(Canary(kKey + kWords).word(other), kWords));
  }
}

TEST(Canary, FillsAsThePrivateMemoryHasIt) {
  const Canary canary(~kKey);  // what it leaves on the heap is none of what others look for
  std::vector<std::byte> bytes(64);
  canary.fill(bytes, 800);
  std::uint64_t third = 0;
  std::memcpy(&third, &bytes[16], sizeof third);
  EXPECT_EQ(third, canary.word(102));
}

TEST(Declared, ContainsItsBuffersAndNothingBetween) {
  const Declared declared{.first = 1024, .stride = 4096, .length = 512, .count = 2};
  for (const std::uint64_t inside : {1024U, 1535U, 5120U, 5631U})
    EXPECT_TRUE(declared.contains(inside));
  for (const std::uint64_t outside : {0U, 1023U, 1536U, 5119U, 5632U, 9216U})
    EXPECT_FALSE(declared.contains(outside));
  EXPECT_FALSE(Declared().contains(0));
}

class SightTest : public testing::Test {
 protected:
  [[nodiscard]] Seen look(std::span<const Fd> files = {}) const {
    return MUST(sight_.look(look_, files));
  }

  Canary canary_{kKey};
  Look look_{.key = kKey, .private_bytes = kWords * Canary::kWordBytes};
  Sight sight_ = MUST(Sight::open());
};

TEST_F(SightTest, FindsAWordOnTheHeapAndForgetsItWithTheMemory) {
  EXPECT_EQ(look().bytes, 0U);
  std::vector<std::byte> heap(4096);
  canary_.fill(heap, 8192);
  EXPECT_EQ(look().bytes, heap.size());
  EXPECT_EQ(look().first_outside, 8192U);
  std::ranges::fill(heap, std::byte{0});
  EXPECT_EQ(look().bytes, 0U);
}

TEST_F(SightTest, FindsWhatIsInAFileThatNobodyMapped) {
  std::vector<Fd> files;
  {
    const auto memory = MUST(shm::SealedMemfd::create({.size = 8192}));
    const auto mapping = MUST(memory.map());
    canary_.fill(mapping.bytes().in_place().subspan(4096, 512), 0);
    files.push_back(MUST(memory.fd().duplicate()));
  }
  EXPECT_EQ(look().bytes, 0U);
  EXPECT_EQ(look(files).bytes, 512U);
}

TEST_F(SightTest, TellsDeclaredBytesFromOthersAndCountsEachOnce) {
  std::vector<std::byte> first(1024);
  std::vector<std::byte> second(1024);
  canary_.fill(first, 4096);
  canary_.fill(second, 4096);
  look_.declared[0] = {.first = 4096, .stride = 4096, .length = 1000, .count = 1};
  EXPECT_EQ(look().bytes, 1024U);
  EXPECT_EQ(look().outside_bytes, 24U);
  EXPECT_EQ(look().first_outside, 4096U + 1000);
}

}  // namespace
}  // namespace airlock::compare
