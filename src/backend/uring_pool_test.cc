// SPDX-License-Identifier: Apache-2.0
#include "backend/uring_pool.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <cerrno>
#include <utility>

namespace airlock::backend {
namespace {

class UringPoolTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto ring = Uring::create(1); !ring) {
      GTEST_SKIP() << "no io_uring here: " << describe(ring.error());
    }
  }
};

/// The result of one operation.
template <class Prepare>
int result_of(Uring& ring, Prepare prepare) {
  io_uring_sqe* const sqe = io_uring_get_sqe(&ring);
  prepare(sqe);
  EXPECT_EQ(io_uring_submit_and_wait(&ring, 1), 1);
  io_uring_cqe* cqe = nullptr;
  EXPECT_EQ(io_uring_wait_cqe(&ring, &cqe), 0);
  const int result = cqe->res;
  io_uring_cqe_seen(&ring, cqe);
  return result;
}

// Goal: who has taken the process over gets no further by its rings. Method: ask for a file, for a
// socket's message; the twins are what a channel asks for.
TEST_F(UringPoolTest, RingDoesNothingButTransfers) {
  const auto ring = Uring::create(4);
  ASSERT_TRUE(ring);
  EXPECT_EQ(
      result_of(**ring,
                [](io_uring_sqe* sqe) { io_uring_prep_openat(sqe, AT_FDCWD, "/", O_RDONLY, 0); }),
      -EACCES);
  EXPECT_EQ(result_of(**ring, [](io_uring_sqe* sqe) { io_uring_prep_send(sqe, 0, "x", 1, 0); }),
            -EACCES);
  EXPECT_EQ(result_of(**ring, [](io_uring_sqe* sqe) { io_uring_prep_nop(sqe); }), 0);
  EXPECT_EQ(result_of(**ring, [](io_uring_sqe* sqe) { io_uring_prep_fsync(sqe, -1, 0); }), -EBADF);
}

TEST_F(UringPoolTest, RingRegistersNothingButMemory) {
  const auto ring = Uring::create(4);
  ASSERT_TRUE(ring);
  const int file = STDIN_FILENO;
  EXPECT_EQ(io_uring_register_files(ring->get(), &file, 1), -EACCES);
  EXPECT_EQ(io_uring_register_personality(ring->get()), -EACCES);
  EXPECT_EQ(io_uring_unregister_buffers(ring->get()), -ENXIO);  // allowed, and there are none
}

TEST_F(UringPoolTest, PreparedRingsComeBack) {
  UringPool pool;
  pool.prepare(2, 8);
  auto first = pool.take(8);
  auto second = pool.take(3);
  ASSERT_TRUE(first && second);
  EXPECT_EQ((*first)->depth(), 8U);
  EXPECT_EQ((*second)->depth(), 8U);
  const auto made_now = pool.take(3);
  ASSERT_TRUE(made_now);
  EXPECT_EQ((*made_now)->depth(), 3U);
  pool.give_back(std::move(*first));
  const auto again = pool.take(3);
  ASSERT_TRUE(again);
  EXPECT_EQ((*again)->depth(), 8U);
}

TEST_F(UringPoolTest, WithoutAPreparedOneARingIsMadeForTheDepth) {
  UringPool pool;
  pool.prepare(1, 2);
  const auto deeper = pool.take(9);
  ASSERT_TRUE(deeper);
  EXPECT_EQ((*deeper)->depth(), 9U);
}

}  // namespace
}  // namespace airlock::backend
