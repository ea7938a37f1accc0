// SPDX-License-Identifier: Apache-2.0
// A job is fed results that a kernel may give, one by one, without a file: which call it asks for
// next is all there is to see.
#include "backend/file_job.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <numeric>

#include <gtest/gtest.h>

#include "backend/io_threads.h"
#include "testing/block_bench.h"

namespace airlock::backend {
namespace {

using testing::BlockBench;

using Call = FileJob::Call;

class FileJobTest : public ::testing::Test {
 protected:
  FileJob& start(BlockOp op, std::uint64_t offset, std::uint64_t length) {
    memory_ = {bench_.at(0, length)};
    return start_with(
        {.token = 9, .op = op, .offset = offset, .length = length, .segments = memory_});
  }
  FileJob& start_with(const BlockRequest& request) {
    job_.start(request, target_);
    return job_;
  }
  static std::uint64_t bytes_of(std::span<const iovec> vectors) {
    return std::accumulate(vectors.begin(), vectors.end(), std::uint64_t{0},
                           [](std::uint64_t sum, const iovec& v) { return sum + v.iov_len; });
  }

  BlockBench bench_;
  FileTarget target_;
  std::vector<shm::SharedBytes> memory_;
  FileJob job_;
};

TEST_F(FileJobTest, FinishesWhenAllWasRead) {
  FileJob& job = start(BlockOp::kRead, 4096, 8192);
  EXPECT_EQ(job.call(), Call::kReadv);
  EXPECT_EQ(job.offset(), 4096U);
  EXPECT_EQ(bytes_of(job.vectors()), 8192U);
  job.advance(8192);
  ASSERT_TRUE(job.done());
  EXPECT_EQ(job.completion().token, 9U);
  EXPECT_EQ(job.completion().error, 0);
  EXPECT_EQ(job.completion().bytes, 8192U);
}

TEST_F(FileJobTest, ContinuesShortTransfersWhereTheyStopped) {
  FileJob& job = start(BlockOp::kWrite, 512, 8192);
  job.advance(700);
  ASSERT_FALSE(job.done());
  EXPECT_EQ(job.offset(), 512U + 700);
  EXPECT_EQ(job.length(), 8192U - 700);
  ASSERT_EQ(job.vectors().size(), 1U);
  EXPECT_EQ(job.vectors()[0].iov_len, 8192U - 700);
  EXPECT_EQ(job.vectors()[0].iov_base,
            static_cast<std::byte*>(bench_.region().for_kernel().iov_base) + 700);
  job.advance(8192 - 700);
  EXPECT_TRUE(job.done());
  EXPECT_EQ(job.completion().bytes, 8192U);
}

TEST_F(FileJobTest, NothingTransferredIsAnError) {
  for (const BlockOp op : {BlockOp::kRead, BlockOp::kWrite}) {
    FileJob& job = start(op, 0, 4096);
    job.advance(1024);
    job.advance(0);
    ASSERT_TRUE(job.done());
    EXPECT_EQ(job.completion().error, EIO);
    EXPECT_EQ(job.completion().bytes, 1024U);
  }
}

TEST_F(FileJobTest, RepeatsInterruptedCallsButNotForever) {
  for (const int error : {EINTR, EAGAIN}) {
    FileJob& job = start(BlockOp::kRead, 0, 512);
    for (std::uint32_t i = 0; i < FileJob::kRetriesMost; ++i) {
      job.advance(-error);
      ASSERT_EQ(job.call(), Call::kReadv);
    }
    job.advance(-error);
    ASSERT_TRUE(job.done());
    EXPECT_EQ(job.completion().error, error);
  }
}

TEST_F(FileJobTest, ReportsOtherErrorsAtOnce) {
  FileJob& job = start(BlockOp::kWrite, 0, 512);
  job.advance(-ENOSPC);
  ASSERT_TRUE(job.done());
  EXPECT_EQ(job.completion().error, ENOSPC);
  start_with({.op = BlockOp::kFlush}).advance(-EIO);
  ASSERT_TRUE(job.done());
  EXPECT_EQ(job.completion().error, EIO);
}

TEST_F(FileJobTest, MergesNeighboursAndKeepsGapsApart) {
  memory_ = {bench_.at(0, 100), bench_.at(100, 412), bench_.at(1024, 512)};
  FileJob& job = start_with({.op = BlockOp::kRead, .length = 1024, .segments = memory_});
  ASSERT_EQ(job.vectors().size(), 2U);
  EXPECT_EQ(job.vectors()[0].iov_len, 512U);
  EXPECT_EQ(job.vectors()[1].iov_len, 512U);
}

TEST_F(FileJobTest, TakesMorePiecesThanACallCanHave) {
  constexpr std::size_t kPieces = 3 * FileJob::kVectors;
  for (std::size_t i = 0; i < kPieces; ++i) {
    memory_.push_back(bench_.at(i * 1024, 512));
  }
  FileJob& job = start_with({.op = BlockOp::kRead, .length = kPieces * 512, .segments = memory_});
  int calls = 0;
  while (!job.done()) {
    EXPECT_EQ(job.vectors().size(), FileJob::kVectors);
    job.advance(static_cast<std::int64_t>(bytes_of(job.vectors())));
    ++calls;
  }
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(job.completion().bytes, kPieces * 512);
}

// VIRTIO 1.3, 5.2.6.2: a discard is a hint.
TEST_F(FileJobTest, ADiscardThatIsNotSupportedIsDone) {
  FileJob& job = start_with({.op = BlockOp::kDiscard, .length = 4096});
  EXPECT_EQ(job.call(), Call::kPunch);
  job.advance(-EOPNOTSUPP);
  ASSERT_TRUE(job.done());
  EXPECT_EQ(job.completion().error, 0);
  EXPECT_TRUE(start_with({.op = BlockOp::kDiscard, .length = 4096}).done());  // remembered
}

TEST_F(FileJobTest, ADiscardThatFailsHasFailed) {
  FileJob& job = start_with({.op = BlockOp::kDiscard, .length = 4096});
  job.advance(-EIO);
  EXPECT_EQ(job.completion().error, EIO);
}

TEST_F(FileJobTest, ARangeThatDoesNotSuitIsNotRemembered) {
  target_.is_block_device = true;
  FileJob& job = start_with({.op = BlockOp::kDiscard, .offset = 512, .length = 512});
  EXPECT_EQ(job.call(), Call::kDiscard);
  job.advance(-EINVAL);
  ASSERT_TRUE(job.done());
  EXPECT_EQ(job.completion().error, 0);
  EXPECT_EQ(start_with({.op = BlockOp::kDiscard, .length = 4096}).call(), Call::kDiscard);
}

TEST_F(FileJobTest, WriteZeroesFallsBackStepByStep) {
  FileJob& job = start_with({.op = BlockOp::kWriteZeroes, .may_unmap = true, .length = 1 << 20});
  EXPECT_EQ(job.call(), Call::kPunch);
  job.advance(-EOPNOTSUPP);
  EXPECT_EQ(job.call(), Call::kZeroRange);
  job.advance(-EOPNOTSUPP);
  ASSERT_EQ(job.call(), Call::kWritev);
  EXPECT_EQ(bytes_of(job.vectors()), 1U << 20);
  job.advance(1000);
  EXPECT_EQ(job.offset(), 1000U);
  job.advance((1 << 20) - 1000);
  ASSERT_TRUE(job.done());
  EXPECT_EQ(job.completion().error, 0);
  // Both refusals are remembered.
  EXPECT_EQ(start_with({.op = BlockOp::kWriteZeroes, .may_unmap = true, .length = 512}).call(),
            Call::kWritev);
}

TEST_F(FileJobTest, WriteZeroesTriesEachWayOnceWhereTheRangeDoesNotSuit) {
  FileJob& job = start_with({.op = BlockOp::kWriteZeroes, .may_unmap = true, .length = 512});
  job.advance(-EINVAL);
  EXPECT_EQ(job.call(), Call::kZeroRange);
  job.advance(-EINVAL);
  EXPECT_EQ(job.call(), Call::kWritev);
  EXPECT_EQ(start_with({.op = BlockOp::kWriteZeroes, .may_unmap = true, .length = 512}).call(),
            Call::kPunch);
}

TEST_F(FileJobTest, WriteZeroesKeepsTheStorageUnlessItMayGo) {
  EXPECT_EQ(start_with({.op = BlockOp::kWriteZeroes, .may_unmap = false, .length = 512}).call(),
            Call::kZeroRange);
}

TEST_F(FileJobTest, DurableZeroesAreSyncedAndDurableWritesFlagged) {
  FileJob& job = start_with({.op = BlockOp::kWriteZeroes, .durable = true, .length = 512});
  job.advance(0);
  EXPECT_EQ(job.call(), Call::kSync);
  job.advance(0);
  EXPECT_TRUE(job.done());
  memory_ = {bench_.at(0, 512)};
  EXPECT_EQ(start_with({.op = BlockOp::kWrite, .durable = true, .length = 512, .segments = memory_})
                .write_flags(),
            RWF_DSYNC);
  EXPECT_EQ(start_with({.op = BlockOp::kWrite, .length = 512, .segments = memory_}).write_flags(),
            0);
}

// The kernel tells of lost data once; the next fdatasync succeeds, of data that is gone.
TEST_F(FileJobTest, AFailedSyncFailsAllThatPromiseMoreForGood) {
  start_with({.op = BlockOp::kFlush}).advance(-EIO);
  EXPECT_EQ(job_.completion().error, EIO);
  memory_ = {bench_.at(0, 512)};
  for (const BlockRequest& request :
       {BlockRequest{.op = BlockOp::kFlush},
        BlockRequest{.op = BlockOp::kWrite, .durable = true, .length = 512, .segments = memory_},
        BlockRequest{.op = BlockOp::kWriteZeroes, .durable = true, .length = 512}}) {
    ASSERT_TRUE(start_with(request).done());
    EXPECT_EQ(job_.completion().error, EIO);
    EXPECT_EQ(job_.completion().bytes, 0U);
  }
  // What promises nothing goes on.
  for (const BlockOp op : {BlockOp::kRead, BlockOp::kWrite}) {
    ASSERT_FALSE(start(op, 0, 512).done());
    job_.advance(512);
    EXPECT_EQ(job_.completion().error, 0);
  }
}

TEST_F(FileJobTest, AFailedDurableWriteFailsLaterFlushes) {
  memory_ = {bench_.at(0, 512)};
  start_with({.op = BlockOp::kWrite, .durable = true, .length = 512, .segments = memory_})
      .advance(-ENOSPC);
  EXPECT_EQ(job_.completion().error, ENOSPC);
  ASSERT_TRUE(start_with({.op = BlockOp::kFlush}).done());
  EXPECT_EQ(job_.completion().error, ENOSPC);  // the first error, whatever comes after
}

// A write that the file can't take loses nothing that was written before.
TEST_F(FileJobTest, ARefusedDurableWriteFailsNoLaterFlush) {
  memory_ = {bench_.at(0, 512)};
  for (const int error : {EINVAL, EFBIG, EOPNOTSUPP}) {
    start_with({.op = BlockOp::kWrite, .durable = true, .length = 512, .segments = memory_})
        .advance(-error);
    EXPECT_EQ(job_.completion().error, error);
    ASSERT_FALSE(start_with({.op = BlockOp::kFlush}).done());
    job_.advance(0);
    EXPECT_EQ(job_.completion().error, 0);
  }
}

TEST_F(FileJobTest, AFailedSyncAfterDurableZeroesFailsLaterFlushes) {
  start_with({.op = BlockOp::kWriteZeroes, .durable = true, .length = 512}).advance(0);
  ASSERT_EQ(job_.call(), Call::kSync);
  job_.advance(-EIO);
  EXPECT_EQ(job_.completion().error, EIO);
  EXPECT_TRUE(start_with({.op = BlockOp::kFlush}).done());
}

TEST_F(FileJobTest, ASyncBesideTheOneThatFailedFailsToo) {
  FileJob other;
  other.start({.op = BlockOp::kFlush}, target_);
  start_with({.op = BlockOp::kFlush}).advance(-EIO);
  other.advance(0);
  EXPECT_EQ(other.completion().error, EIO);
}

TEST_F(FileJobTest, WhatLosesNothingDoesNotFailLaterFlushes) {
  start(BlockOp::kWrite, 0, 512).advance(-EIO);  // an error the driver is told of
  EXPECT_EQ(job_.completion().error, EIO);
  start(BlockOp::kRead, 0, 512).advance(-EIO);
  start_with({.op = BlockOp::kDiscard, .length = 512}).advance(-EIO);
  start_with({.op = BlockOp::kFlush}).advance(-EINTR);
  ASSERT_FALSE(job_.done());
  job_.advance(0);
  EXPECT_EQ(job_.completion().error, 0);
  memory_ = {bench_.at(0, 512)};
  EXPECT_FALSE(start_with({.op = BlockOp::kWriteZeroes, .durable = true, .length = 512}).done());
  job_.advance(-EOPNOTSUPP);  // another way is tried
  EXPECT_EQ(job_.call(), Call::kWritev);
  EXPECT_FALSE(start_with({.op = BlockOp::kFlush}).done());
}

TEST_F(FileJobTest, ALossIsLoggedOnce) {
  target_.name = "/images/lossy";
  ::testing::internal::CaptureStderr();
  FileJob other;
  other.start({.op = BlockOp::kFlush}, target_);
  start_with({.op = BlockOp::kFlush}).advance(-EIO);
  other.advance(-EIO);
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(log.find("/images/lossy"), std::string::npos) << log;
  EXPECT_EQ(std::ranges::count(log, '\n'), 1) << log;
}

TEST_F(FileJobTest, ACancelledJobIsDoneAndNothingIsLost) {
  start_with({.op = BlockOp::kFlush}).cancel();
  ASSERT_TRUE(job_.done());
  EXPECT_EQ(job_.completion().error, ECANCELED);
  EXPECT_FALSE(start_with({.op = BlockOp::kFlush}).done());
}

TEST_F(FileJobTest, ThreadsMakeNoCallOnceCancelled) {
  // The target has no file: a call that is made is EBADF.
  const auto threads = MUST(IoThreads::start({.threads = 1, .depth = 1}));
  const auto run = [&] {
    threads->push(&start(BlockOp::kRead, 0, 512));
    pollfd wait{.fd = threads->fd(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&wait, 1, 30'000), 1);
    EXPECT_EQ(threads->pop(), &job_);
    return job_.completion().error;
  };
  EXPECT_EQ(run(), EBADF);
  threads->cancel();
  EXPECT_EQ(run(), ECANCELED);
}

}  // namespace
}  // namespace airlock::backend
