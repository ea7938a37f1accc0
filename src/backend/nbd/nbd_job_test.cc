// SPDX-License-Identifier: Apache-2.0
// A job is fed answers that a server may give, one by one, without a server: which command it asks
// for next is all there is to see.
#include "backend/nbd/nbd_job.h"

#include <cerrno>

#include <gtest/gtest.h>

#include "testing/block_bench.h"

namespace airlock::backend {
namespace {

using testing::BlockBench;

using Kind = NbdCommand::Kind;

constexpr std::uint64_t kKiB = 1024;

class NbdJobTest : public ::testing::Test {
 protected:
  NbdJob& start(BlockRequest request) {
    request.token = 9;
    job_.start(request, exported_);
    return job_;
  }
  NbdJob& transfer(BlockOp op, std::uint64_t offset, std::uint64_t length, bool durable = false) {
    memory_ = {bench_.at(0, length)};
    return start(
        {.op = op, .durable = durable, .offset = offset, .length = length, .segments = memory_});
  }

  BlockBench bench_;
  NbdExport exported_{.bytes = std::uint64_t{1} << 40,
                      .can_flush = true,
                      .can_fua = true,
                      .can_trim = true,
                      .can_zero = true};
  std::vector<shm::SharedBytes> memory_;
  NbdJob job_;
};

TEST_F(NbdJobTest, SendsOnePieceAsItIs) {
  NbdJob& job = transfer(BlockOp::kRead, 4096, 512);
  EXPECT_EQ(job.command().kind, Kind::kRead);
  EXPECT_EQ(job.command().offset, 4096U);
  EXPECT_EQ(job.command().length, 512U);
  EXPECT_EQ(job.command().memory, bench_.region().in_place().data());
  job.answered(0);
  ASSERT_TRUE(job.done());
  EXPECT_EQ(job.completion().token, 9U);
  EXPECT_EQ(job.completion().error, 0);
  EXPECT_EQ(job.completion().bytes, 512U);
}

TEST_F(NbdJobTest, CutsWhatIsMoreThanTheServerTakes) {
  exported_.payload_most = 64 * kKiB;
  NbdJob& job = transfer(BlockOp::kWrite, 512, 160 * kKiB);
  for (const std::uint64_t length : {64U, 64U, 32U}) {
    ASSERT_FALSE(job.done());
    EXPECT_EQ(job.command().length, length * kKiB);
    job.answered(0);
  }
  ASSERT_TRUE(job.done());
  EXPECT_EQ(job.completion().bytes, 160 * kKiB);
}

TEST_F(NbdJobTest, GathersAndScattersPieces) {
  // Not neighbours, and no piece a whole block.
  memory_ = {bench_.at(0, 100), bench_.at(8192, 412), bench_.at(16384, 512)};
  std::vector<std::byte> bytes(1024);
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>(i % 251);
  memory_[0].copy_in(0, std::span(bytes).first(100));
  memory_[1].copy_in(0, std::span(bytes).subspan(100, 412));
  memory_[2].copy_in(0, std::span(bytes).subspan(512));
  NbdJob& write = start({.op = BlockOp::kWrite, .length = 1024, .segments = memory_});
  ASSERT_EQ(write.command().length, 1024U);
  std::vector<std::byte> disk(write.command().memory, write.command().memory + 1024);
  EXPECT_EQ(disk, bytes);
  write.answered(0);
  ASSERT_TRUE(write.done());

  bench_.region().fill_zero(0, 32768);
  NbdJob& read = start({.op = BlockOp::kRead, .length = 1024, .segments = memory_});
  ASSERT_EQ(read.command().length, 1024U);
  std::ranges::copy(disk, read.command().memory);
  read.answered(0);
  ASSERT_TRUE(read.done());
  std::vector<std::byte> got(1024);
  memory_[0].copy_out(0, std::span(got).first(100));
  memory_[1].copy_out(0, std::span(got).subspan(100, 412));
  memory_[2].copy_out(0, std::span(got).subspan(512));
  EXPECT_EQ(got, bytes);
}

TEST_F(NbdJobTest, TakesNeighboursForOnePiece) {
  memory_ = {bench_.at(0, 100), bench_.at(100, 412), bench_.at(512, 512)};
  NbdJob& job = start({.op = BlockOp::kRead, .length = 1024, .segments = memory_});
  EXPECT_EQ(job.command().memory, bench_.region().in_place().data());
  EXPECT_EQ(job.command().length, 1024U);
}

TEST_F(NbdJobTest, SendsLargePiecesThemselvesAndSmallOnesTogether) {
  const std::uint64_t large = NbdJob::kPieceLeast;
  memory_ = {bench_.at(0, large + 512), bench_.at(large + 1024, 512)};
  NbdJob& job = start({.op = BlockOp::kRead, .length = large + 1024, .segments = memory_});
  EXPECT_EQ(job.command().memory, bench_.region().in_place().data());
  EXPECT_EQ(job.command().length, large + 512);
  job.answered(0);
  EXPECT_EQ(job.command().memory, bench_.region().in_place().data() + large + 1024);
  EXPECT_EQ(job.command().length, 512U);
  EXPECT_EQ(job.command().offset, large + 512);
  job.answered(0);
  EXPECT_TRUE(job.done());
}

TEST_F(NbdJobTest, KeepsItsCommandUntilItIsAnswered) {
  memory_ = {bench_.at(0, 256), bench_.at(8192, 256)};
  NbdJob& job = start({.op = BlockOp::kWrite, .length = 512, .segments = memory_});
  const NbdCommand before = job.command();
  const std::vector<std::byte> sent(before.memory, before.memory + 512);
  memory_[0].fill_zero(0, 256);
  memory_[0].store_relaxed<std::uint8_t>(0, 1);
  EXPECT_EQ(job.command().memory, before.memory);
  EXPECT_TRUE(std::equal(sent.begin(), sent.end(), job.command().memory))
      << "a request that is sent twice is not the same";
}

TEST_F(NbdJobTest, AWriteThatMustLastIsForcedOrFlushed) {
  EXPECT_TRUE(transfer(BlockOp::kWrite, 0, 512, true).command().durable);
  job_.answered(0);
  EXPECT_TRUE(job_.done());

  exported_.can_fua = false;
  NbdJob& job = transfer(BlockOp::kWrite, 0, 512, true);
  EXPECT_FALSE(job.command().durable);
  job.answered(0);
  ASSERT_FALSE(job.done());
  EXPECT_EQ(job.command().kind, Kind::kFlush);
  job.answered(EIO);
  ASSERT_TRUE(job.done());
  EXPECT_EQ(job.completion().error, EIO);
}

TEST_F(NbdJobTest, AFlushIsOneCommandOrNone) {
  NbdJob& job = start({.op = BlockOp::kFlush});
  EXPECT_EQ(job.command().kind, Kind::kFlush);
  job.answered(0);
  EXPECT_TRUE(job.done());
  exported_.can_flush = false;
  EXPECT_TRUE(start({.op = BlockOp::kFlush}).done());
}

TEST_F(NbdJobTest, ZeroesAndTrimsInPartsWithoutMemory) {
  const std::uint64_t length = 2 * std::uint64_t{NbdJob::kZeroBytes} + 512;
  NbdJob& zeroes = start({.op = BlockOp::kWriteZeroes, .length = length});
  EXPECT_EQ(zeroes.command().kind, Kind::kZero);
  EXPECT_TRUE(zeroes.command().keep_allocated);
  EXPECT_EQ(zeroes.command().length, NbdJob::kZeroBytes);
  zeroes.answered(0);
  zeroes.answered(0);
  EXPECT_EQ(zeroes.command().length, 512U);
  zeroes.answered(0);
  ASSERT_TRUE(zeroes.done());
  EXPECT_EQ(zeroes.completion().bytes, length);

  EXPECT_FALSE(start({.op = BlockOp::kWriteZeroes, .may_unmap = true, .length = 512})
                   .command()
                   .keep_allocated);
  EXPECT_EQ(start({.op = BlockOp::kDiscard, .length = 512}).command().kind, Kind::kTrim);
}

TEST_F(NbdJobTest, RefusesWhatTheServerCannotDo) {
  const auto error_of = [&](const BlockRequest& request) {
    const NbdJob& job = start(request);
    return job.done() ? job.completion().error : 0;
  };
  exported_.can_trim = exported_.can_zero = false;
  EXPECT_EQ(error_of({.op = BlockOp::kDiscard, .length = 512}), EOPNOTSUPP);
  EXPECT_EQ(error_of({.op = BlockOp::kWriteZeroes, .length = 512}), EOPNOTSUPP);
  exported_.block_least = 4096;
  EXPECT_EQ(error_of({.op = BlockOp::kDiscard, .offset = 512, .length = 4096}), EINVAL);
  EXPECT_EQ(error_of({.op = BlockOp::kDiscard, .offset = 4096, .length = 512}), EINVAL);
  exported_.read_only = true;
  EXPECT_EQ(error_of({.op = BlockOp::kDiscard, .length = 4096}), EROFS);
}

TEST_F(NbdJobTest, AnErrorEndsItWithWhatWasMoved) {
  exported_.payload_most = 64 * kKiB;
  NbdJob& job = transfer(BlockOp::kWrite, 0, 128 * kKiB);
  job.answered(0);
  job.answered(ENOSPC);
  ASSERT_TRUE(job.done());
  EXPECT_EQ(job.completion().error, ENOSPC);
  EXPECT_EQ(job.completion().bytes, 64 * kKiB);
}

}  // namespace
}  // namespace airlock::backend
