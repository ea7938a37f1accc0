// SPDX-License-Identifier: Apache-2.0
// A disk of memory against plain memory, and what it refuses.
#include "backend/memory_backend.h"

#include <thread>

#include <gtest/gtest.h>

#include "testing/block_bench.h"

namespace airlock::backend {
namespace {

using testing::BlockBench;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

TEST(MemoryBackend, StartsWithZeros) {
  const BlockBench bench;
  auto disk = open_memory(kMiB, false);
  ASSERT_TRUE(disk);
  auto channel = MUST((*disk)->open_channel(bench.region(), 4));
  bench.region().copy_in(0, std::vector<std::byte>(4096, std::byte{7}));
  EXPECT_EQ(bench.read(*channel, kMiB - 4096, 4096), std::vector<std::byte>(4096));
}

TEST(MemoryBackend, AgreesWithPlainMemory) {
  const BlockBench bench;
  auto disk = open_memory(kMiB, false);
  ASSERT_TRUE(disk);
  testing::compare_with_model(**disk, bench, 1);
}

TEST(MemoryBackend, DiscardZeroesExactlyTheRange) {
  const BlockBench bench;
  auto disk = open_memory(kMiB, false);
  ASSERT_TRUE(disk);
  auto channel = MUST((*disk)->open_channel(bench.region(), 4));
  const std::vector<std::byte> ones(65536, std::byte{1});
  ASSERT_EQ(bench.write(*channel, 0, ones).error, 0);
  // From the middle of a page to the middle of another.
  EXPECT_EQ(
      BlockBench::run(*channel, {.op = BlockOp::kDiscard, .offset = 512, .length = 16384}).error,
      0);
  std::vector<std::byte> expected = ones;
  std::fill(expected.begin() + 512, expected.begin() + 512 + 16384, std::byte{0});
  EXPECT_EQ(bench.read(*channel, 0, ones.size()), expected);
}

TEST(MemoryBackend, IsSparse) {
  auto disk = open_memory(std::uint64_t{1} << 40, false);
  ASSERT_TRUE(disk);  // more than any test machine has
  EXPECT_EQ((*disk)->geometry().capacity_bytes, std::uint64_t{1} << 40);
}

TEST(MemoryBackend, ReadOnlyRefusesWrites) {
  const BlockBench bench;
  auto disk = open_memory(kMiB, true);
  ASSERT_TRUE(disk);
  EXPECT_TRUE((*disk)->geometry().read_only);
  EXPECT_FALSE((*disk)->geometry().can_discard);
  auto channel = MUST((*disk)->open_channel(bench.region(), 4));
  EXPECT_EQ(bench.write(*channel, 0, std::vector<std::byte>(512, std::byte{1})).error, EROFS);
  EXPECT_EQ(BlockBench::run(*channel, {.op = BlockOp::kFlush}).error, 0);
  EXPECT_EQ(bench.read(*channel, 0, 512), std::vector<std::byte>(512));
}

TEST(MemoryBackend, RefusesMoreThanItsDepthUntilReaped) {
  const BlockBench bench;
  auto disk = open_memory(kMiB, false);
  ASSERT_TRUE(disk);
  auto channel = MUST((*disk)->open_channel(bench.region(), 3));
  for (std::uint64_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(channel->submit({.token = i, .op = BlockOp::kFlush}));
  }
  EXPECT_EQ(channel->submit({.token = 3, .op = BlockOp::kFlush}).error().code, Errc::kQueueFull);
  BlockCompletion one;
  EXPECT_EQ(channel->reap(std::span(&one, 1)), 1U);
  EXPECT_EQ(one.token, 0U);
  EXPECT_TRUE(channel->submit({.token = 4, .op = BlockOp::kFlush}));
  const auto rest = BlockBench::wait(*channel, 3);
  EXPECT_EQ(rest[0].token, 1U);
  EXPECT_EQ(rest[2].token, 4U);
}

TEST(MemoryBackend, RefusesWhatNoAddressSpaceHas) {
  EXPECT_TRUE(open_memory(512, false));
  EXPECT_FALSE(open_memory(~std::uint64_t{0} - 511, false));
}

TEST(MemoryBackend, ServesQueuesAtOnce) {
  const BlockBench first;
  const BlockBench second;
  auto disk = open_memory(2 * kMiB, false);
  ASSERT_TRUE(disk);
  const auto use = [&](const BlockBench& bench, std::uint64_t offset, std::byte fill) {
    auto channel = MUST((*disk)->open_channel(bench.region(), 4));
    for (std::uint64_t at = 0; at < kMiB; at += 4096) {
      EXPECT_EQ(bench.write(*channel, offset + at, std::vector<std::byte>(4096, fill)).error, 0);
    }
    EXPECT_EQ(bench.read(*channel, offset, kMiB), std::vector<std::byte>(kMiB, fill));
  };
  std::thread other([&] { use(second, kMiB, std::byte{2}); });
  use(first, 0, std::byte{1});
  other.join();
}

}  // namespace
}  // namespace airlock::backend
