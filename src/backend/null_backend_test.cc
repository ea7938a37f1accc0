// SPDX-License-Identifier: Apache-2.0
// A disk that keeps nothing: what it answers, and what it leaves alone.
#include "backend/null_backend.h"

#include <cerrno>

#include <gtest/gtest.h>

#include "testing/block_bench.h"

namespace airlock::backend {
namespace {

using testing::BlockBench;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

TEST(NullBackend, AnswersEverythingAndTouchesNoSegment) {
  const BlockBench bench;
  const auto disk = make_null(kMiB, false);
  auto channel = MUST(disk->open_channel(bench.region(), 4));
  const std::vector<std::byte> sevens(4096, std::byte{7});
  EXPECT_EQ(bench.write(*channel, 0, sevens).error, 0);
  EXPECT_EQ(bench.read(*channel, 0, 4096), sevens);  // what stood there before the read
  for (const BlockOp op : {BlockOp::kFlush, BlockOp::kDiscard, BlockOp::kWriteZeroes}) {
    const bool ranged = op != BlockOp::kFlush;
    const auto done = BlockBench::run(
        *channel, {.op = op, .offset = ranged ? 512U : 0U, .length = ranged ? 1024U : 0U});
    EXPECT_EQ(done.error, 0);
    EXPECT_EQ(done.bytes, ranged ? 1024U : 0U);
  }
}

TEST(NullBackend, ReadOnlyRefusesWhatWouldChangeIt) {
  const BlockBench bench;
  const auto disk = make_null(kMiB, true);
  EXPECT_TRUE(disk->geometry().read_only);
  EXPECT_FALSE(disk->geometry().can_write_zeroes);
  auto channel = MUST(disk->open_channel(bench.region(), 4));
  EXPECT_EQ(bench.write(*channel, 0, std::vector<std::byte>(512, std::byte{1})).error, EROFS);
  EXPECT_EQ(BlockBench::run(*channel, {.op = BlockOp::kFlush}).error, 0);
}

TEST(NullBackend, RefusesMoreThanItsDepthUntilReaped) {
  const BlockBench bench;
  const auto disk = make_null(kMiB, false);
  auto channel = MUST(disk->open_channel(bench.region(), 1));
  EXPECT_TRUE(channel->submit({.token = 5, .op = BlockOp::kFlush}));
  EXPECT_EQ(channel->submit({.token = 6, .op = BlockOp::kFlush}).error().code, Errc::kQueueFull);
  EXPECT_EQ(BlockBench::wait(*channel, 1)[0].token, 5U);
}

}  // namespace
}  // namespace airlock::backend
