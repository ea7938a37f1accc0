// SPDX-License-Identifier: Apache-2.0
// What people write after --backend for a network, and what they are told.
#include "backend/open_net.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include <gtest/gtest.h>

#include "base/fd.h"

namespace airlock::backend {
namespace {

std::string refusal_of(const std::string& spec) {
  const auto opened = open_net_backend(spec, {});
  return opened ? "" : opened.error().text();
}

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST(OpenNet, OpensALoop) {
  const auto loop = open_net_backend("loop", {});
  ASSERT_TRUE(loop);
  EXPECT_EQ((*loop)->describe(), "loop");
  EXPECT_TRUE((*loop)->link_up());
  EXPECT_GT((*loop)->channels_max(), 1);
}

TEST(OpenNet, OpensAStreamThatWasLeftOpen) {
  std::array<int, 2> ends{-1, -1};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
  const Fd other(ends[1]);
  const auto opened = open_net_backend("socket:fd:" + std::to_string(ends[0]), {});
  ASSERT_TRUE(opened) << opened.error().text();
  EXPECT_TRUE((*opened)->link_up());
  EXPECT_EQ(fcntl(ends[0], F_GETFD), FD_CLOEXEC);
  EXPECT_EQ((*opened)->channels_max(), 1);
}

TEST(OpenNet, SaysWhatIsWrong) {
  EXPECT_SAYS(refusal_of(""), "there is no backend of this kind: use passt, tap:NAME");
  EXPECT_SAYS(refusal_of("loop:"), "there is no backend of this kind");
  EXPECT_SAYS(refusal_of("passtx"), "there is no backend of this kind");
  EXPECT_SAYS(refusal_of("tap:"), "an interface has a name of 1 to 15 characters");
  EXPECT_SAYS(refusal_of("tap:0123456789abcdef"), "write tap:NAME");
  EXPECT_SAYS(refusal_of("socket:x"), "there is no socket of this kind");
  EXPECT_SAYS(refusal_of("socket:unix:"), "the path is missing, or too long");
  EXPECT_SAYS(refusal_of("socket:unix:" + std::string(200, 'x')), "too long");
  EXPECT_SAYS(refusal_of("socket:fd:1"), "the descriptor is not one");
  EXPECT_SAYS(refusal_of("socket:fd:x"), "the descriptor is not one");
  EXPECT_SAYS(refusal_of("socket:fd:999999"), "Bad file descriptor");
  EXPECT_SAYS(refusal_of("socket:udp:127.0.0.1:9"), "where answers come to");
  EXPECT_SAYS(refusal_of("socket:udp:127.0.0.1:9,local=[::1]:9"), "give two of a kind");
  for (const char* address : {"localhost:1", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", ":1",
                              "127.0.0.1:65536", "127.0.0.1:1x", "[::1:1", "[127.0.0.1]:1"}) {
    EXPECT_SAYS(refusal_of(std::string("socket:tcp:") + address), "the address is not one");
  }
}

TEST(OpenNet, SaysWhatToDoWhereNobodyListens) {
  EXPECT_SAYS(refusal_of("socket:unix:/nonexistent/s"),
              "No such file or directory: start the program that listens there first");
  EXPECT_SAYS(refusal_of("passt:/nonexistent/s"), "No such file or directory");
  EXPECT_SAYS(refusal_of("socket:tcp:127.0.0.1:1"), "Connection refused");
}

}  // namespace
}  // namespace airlock::backend
