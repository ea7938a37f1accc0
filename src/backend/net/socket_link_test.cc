// SPDX-License-Identifier: Apache-2.0
//
// Goal: whichever thread notices first that a peer is gone, the next one is left alone. Method:
// both threads' calls, one after the other, in the order that a race would have them.
#include "backend/net/socket_link.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

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

  // Whether a thread that waits for something to do would wake up.
  static bool wakes(const SocketLink& link) {
    pollfd state{.fd = link.receive_fd(), .events = POLLIN, .revents = 0};
    return ::poll(&state, 1, 0) > 0;
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
  EXPECT_FALSE(wakes(*link_));
}

// Only who has no peer asks the process that connects for one: that it died is no reason to wake up
// before, again and again.
TEST_F(SocketLinkTest, RestsWithAPeerThoughTheProcessThatConnectsDied) {
  auto connector = MUST(Connector::start([]() -> Result<Fd> { _exit(1); }));
  EXPECT_FALSE(connector.make());
  std::array<int, 2> ends{-1, -1};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()), 0);
  const Fd peer(ends[1]);
  const auto link =
      MUST(SocketLink::create({.name = "test",
                               .socket = Fd(ends[0]),
                               .connector = std::make_unique<Connector>(std::move(connector)),
                               .listener = {}},
                              counters_));
  ASSERT_NE(link->receiving(anew_), nullptr);
  EXPECT_FALSE(wakes(*link));
  set_log_level(LogLevel::kWarning);
  ::testing::internal::CaptureStderr();
  link->lost("the test says so");
  EXPECT_TRUE(wakes(*link));
  EXPECT_EQ(link->receiving(anew_), nullptr);
  EXPECT_FALSE(wakes(*link));
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("there will be no peer any more"), std::string::npos) << said;
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
