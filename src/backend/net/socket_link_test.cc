// SPDX-License-Identifier: Apache-2.0
//
// Goal: whichever thread notices first that a peer is gone, the next one is left alone. Method:
// both threads' calls, one after the other, in the order that a race would have them.
#include "backend/net/socket_link.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>

#include "backend/net/socket_maker.h"
#include "testing/temp_dir.h"

namespace airlock::backend {
namespace {

class SocketLinkTest : public ::testing::Test {
 protected:
  SocketLinkTest() {
    set_log_level(LogLevel::kError);
    std::array<int, 2> ends{-1, -1};
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) == 0);
    first_peer_ = Fd(ends[1]);
    link_ = MUST(SocketLink::create(
        {
          .name = "test", .socket = Fd(ends[0]), .connector = {},
          .listener = MUST(listen_at(address_))
        },
        counters_));
  }

  testing::TempDir directory_;
  SocketAddress address_ = *SocketAddress::from_path(directory_.file("socket"));
  NetCounters counters_;
  std::unique_ptr<SocketLink> link_;
  Fd first_peer_;
  bool anew_ = false;
};

TEST_F(SocketLinkTest, HearsFromTheSendingThreadThatThePeerIsGone) {
  ASSERT_NE(link_->sending(anew_), nullptr);
  ASSERT_NE(link_->receiving(anew_), nullptr);
  link_->report_lost();
  EXPECT_EQ(link_->sending(anew_), nullptr);
  EXPECT_EQ(link_->receiving(anew_), nullptr);
  EXPECT_FALSE(link_->up());
  EXPECT_EQ(counters_.counts().disconnects, 1U);
}

TEST_F(SocketLinkTest, DoesNotBlameTheNextPeerForTheOneBefore) {
  ASSERT_NE(link_->sending(anew_), nullptr);
  ASSERT_NE(link_->receiving(anew_), nullptr);
  link_->lost("the test says so");
  const Fd next = MUST(stream_to(address_)());
  ASSERT_NE(link_->receiving(anew_), nullptr);
  EXPECT_TRUE(anew_);
  link_->report_lost();  // of the first one: nothing was sent since
  EXPECT_NE(link_->receiving(anew_), nullptr);
  EXPECT_TRUE(link_->up());
  EXPECT_EQ(counters_.counts().disconnects, 1U);
  EXPECT_NE(link_->sending(anew_), nullptr);
}

}  // namespace
}  // namespace airlock::backend
