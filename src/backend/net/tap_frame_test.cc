// SPDX-License-Identifier: Apache-2.0
//
// Goal: whatever comes out of a tap's queue, what is no frame is dropped, and no run of that keeps
// the thread of a queue. Method: packets of a socket, which come out one by one as a tap's do.
#include "backend/net/tap_frame.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "base/fd.h"
#include "spec/virtio_net.h"

namespace airlock::backend {
namespace {

using Bytes = std::vector<std::byte>;

class TapFrameTest : public ::testing::Test {
 protected:
  TapFrameTest() {
    std::array<int, 2> ends{-1, -1};
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) == 0);
    queue_ = Fd(ends[0]);
    kernel_ = Fd(ends[1]);
  }
  // False: there is no room for more.
  [[nodiscard]] bool give(const spec::VirtioNetHdr& header, std::size_t length) const {
    Bytes bytes(sizeof header + length);
    std::ranges::copy(std::as_bytes(std::span(&header, 1)), bytes.begin());
    return give(bytes);
  }
  [[nodiscard]] bool give(const Bytes& bytes) const {
    return ::send(kernel_.get(), bytes.data(), bytes.size(), 0) ==
           static_cast<ssize_t>(bytes.size());
  }
  Result<std::optional<std::size_t>> read() {
    return read_tap_frame(queue_.get(), header_, frame_, counters_);
  }

  Fd queue_;
  Fd kernel_;
  NetCounters counters_;
  spec::VirtioNetHdr header_;
  Bytes frame_ = Bytes(kNetFrameMax);
};

TEST_F(TapFrameTest, GivesAFrameAndItsHeader) {
  spec::VirtioNetHdr header{};
  header.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header.csum_start.set(34);
  header.csum_offset.set(16);
  header.num_buffers.set(7);
  ASSERT_TRUE(give(header, 60));
  EXPECT_EQ(read().value(), 60U);
  EXPECT_EQ(header_.csum_start.get(), 34U);
  EXPECT_EQ(header_.num_buffers.get(), 0U);
  EXPECT_EQ(read().value(), std::nullopt);
  EXPECT_EQ(counters_.counts().malformed, 0U);
}

TEST_F(TapFrameTest, DropsWhatIsNoFrame) {
  spec::VirtioNetHdr beyond{};
  beyond.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM;
  beyond.csum_start.set(59);
  ASSERT_TRUE(give(Bytes(3)));
  ASSERT_TRUE(give({}, kNetFrameMin - 1));
  ASSERT_TRUE(give(beyond, 60));
  ASSERT_TRUE(give({}, kNetFrameMin));
  EXPECT_EQ(read().value(), kNetFrameMin);
  EXPECT_EQ(counters_.counts().malformed, 3U);
}

// ATK-12: a run of them is looked at in parts.
TEST_F(TapFrameTest, ARunOfThemEnds) {
  std::uint64_t malformed = 0;
  for (bool over = false; !over;) {
    const std::uint64_t before = counters_.counts().malformed;
    while (malformed < before + 2U * kMalformedInARow && give(Bytes(3)))
      ++malformed;
    EXPECT_EQ(read().value(), std::nullopt);
    EXPECT_LE(counters_.counts().malformed, before + kMalformedInARow);
    over = malformed > 4U * kMalformedInARow;
  }
  while (counters_.counts().malformed < malformed)
    EXPECT_EQ(read().value(), std::nullopt);
  ASSERT_TRUE(give({}, 60));
  EXPECT_EQ(read().value(), 60U);
}

TEST_F(TapFrameTest, SaysWhatIsWrongWithTheQueue) {
  queue_.reset();
  EXPECT_EQ(read().error(), system_error(EBADF));
}

}  // namespace
}  // namespace airlock::backend
