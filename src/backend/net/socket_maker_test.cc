// SPDX-License-Identifier: Apache-2.0
//
// Goal: a socket's file that another process has, or may have, is left alone, and one that nobody
// has any more is no obstacle. Method: sockets of each kind at the place that is to be ours.
#include "backend/net/socket_maker.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <utility>
#include <vector>

#include "testing/temp_dir.h"

namespace airlock::backend {
namespace {

class SocketMakerTest : public ::testing::Test {
 protected:
  [[nodiscard]] static Fd bound(int type, const SocketAddress& address) {
    Fd socket = MUST(own_fd(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)));
    MUST(address.bind(socket));
    return socket;
  }
  [[nodiscard]] Result<Fd> datagrams() const { return datagrams_between(own_, peer_)(); }
  // Whether what is sent to our place arrives at `socket`.
  [[nodiscard]] bool has_the_place(const Fd& socket) const {
    const Fd from = MUST(own_fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)));
    if (!own_.connect(from) || ::send(from.get(), "x", 1, 0) != 1) return false;
    char byte = 0;
    return ::recv(socket.get(), &byte, 1, 0) == 1;
  }

  testing::TempDir directory_;
  SocketAddress own_ = *SocketAddress::from_path(directory_.file("own"));
  SocketAddress peer_ = *SocketAddress::from_path(directory_.file("peer"));
};

TEST_F(SocketMakerTest, LeavesAPlaceThatSomebodyHas) {
  const Fd peer = bound(SOCK_DGRAM, peer_);
  const Fd other = bound(SOCK_DGRAM, own_);
  EXPECT_EQ(datagrams().error(), system_error(EADDRINUSE));
  EXPECT_EQ(listen_at(own_).error(), system_error(EADDRINUSE));
  EXPECT_TRUE(has_the_place(other));
}

// One that talks to somebody else refuses who asks, and is there all the same.
TEST_F(SocketMakerTest, LeavesAPlaceThatSomebodyHasWhoTalksToAnother) {
  const Fd peer = bound(SOCK_DGRAM, peer_);
  const Fd other = MUST(datagrams());
  EXPECT_EQ(datagrams().error(), system_error(EADDRINUSE));
  EXPECT_TRUE(std::filesystem::exists(directory_.file("own")));
}

TEST_F(SocketMakerTest, LeavesAListenerAloneWhoseBacklogIsFull) {
  const Fd listener = MUST(listen_at(own_));
  std::vector<Fd> waiting;
  for (Result<Fd> next = stream_to(own_)(); next; next = stream_to(own_)())
    waiting.push_back(std::move(*next));
  EXPECT_FALSE(waiting.empty());
  EXPECT_EQ(listen_at(own_).error(), system_error(EADDRINUSE));
  EXPECT_EQ(datagrams().error(), system_error(EADDRINUSE));
  EXPECT_TRUE(std::filesystem::exists(directory_.file("own")));
}

TEST_F(SocketMakerTest, ReplacesWhatNobodyHas) {
  const Fd peer = bound(SOCK_DGRAM, peer_);
  static_cast<void>(bound(SOCK_DGRAM, own_));
  EXPECT_TRUE(datagrams());
  EXPECT_TRUE(listen_at(own_));
  EXPECT_TRUE(datagrams());
}

TEST_F(SocketMakerTest, LeavesAFileThatIsNoSocket) {
  const Fd peer = bound(SOCK_DGRAM, peer_);
  std::ofstream(directory_.file("own")) << "text";
  EXPECT_EQ(datagrams().error(), system_error(EADDRINUSE));
  EXPECT_EQ(listen_at(own_).error(), system_error(EADDRINUSE));
  EXPECT_EQ(std::filesystem::file_size(directory_.file("own")), 4U);
}

// A socket is made anew while a thread has the last one yet.
TEST_F(SocketMakerTest, ReplacesWhatItMadeItself) {
  const Fd peer = bound(SOCK_DGRAM, peer_);
  const SocketMaker make = datagrams_between(own_, peer_);
  const Fd first = MUST(make());
  const Fd second = MUST(make());
  ASSERT_EQ(::send(second.get(), "x", 1, 0), 1);
  // And where it could not reach the peer.
  std::filesystem::remove(directory_.file("peer"));
  EXPECT_EQ(make().error(), system_error(ENOENT));
  EXPECT_EQ(make().error(), system_error(ENOENT));
}

}  // namespace
}  // namespace airlock::backend
