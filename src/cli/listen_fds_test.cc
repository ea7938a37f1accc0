// SPDX-License-Identifier: Apache-2.0
#include "cli/listen_fds.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace airlock::cli {
namespace {

constexpr int kPid = 77;

TEST(ListenFds, AreThoseFromThreeOnByName) {
  const auto found =
      parse_listen_fds({.pid = "77", .fds = "3", .names = "airlock-state:airlock-region:"}, kPid);
  EXPECT_EQ(found, (std::vector<NamedFd>{{.fd = 3, .name = "airlock-state"},
                                         {.fd = 4, .name = "airlock-region"},
                                         {.fd = 5, .name = ""}}));
  EXPECT_EQ(parse_listen_fds({.pid = "77", .fds = "1", .names = "one"}, kPid),
            (std::vector<NamedFd>{{.fd = 3, .name = "one"}}));
}

// Descriptors without names are somebody's, and nobody is told whose.
TEST(ListenFds, MayHaveNoNames) {
  EXPECT_EQ(parse_listen_fds({.pid = "77", .fds = "2", .names = {}}, kPid),
            (std::vector<NamedFd>{{.fd = 3, .name = {}}, {.fd = 4, .name = {}}}));
  EXPECT_TRUE(parse_listen_fds({.pid = "77", .fds = "0", .names = ""}, kPid)->empty());
}

TEST(ListenFds, AreNotThereUnlessThisProcessIsMeant) {
  EXPECT_TRUE(parse_listen_fds({}, kPid)->empty());
  EXPECT_TRUE(parse_listen_fds({.pid = "77", .fds = {}, .names = "a"}, kPid)->empty());
  EXPECT_TRUE(parse_listen_fds({.pid = {}, .fds = "1", .names = "a"}, kPid)->empty());
  EXPECT_TRUE(parse_listen_fds({.pid = "78", .fds = "1", .names = "a"}, kPid)->empty());
}

TEST(ListenFds, AreRefusedWhereTheyMakeNoSense) {
  const auto why = [](const ListenVariables& variables) {
    const auto found = parse_listen_fds(variables, kPid);
    return found ? std::string("it was taken") : found.error();
  };
  EXPECT_EQ(why({.pid = "", .fds = "1", .names = {}}), "LISTEN_PID= is no number");
  EXPECT_EQ(why({.pid = "77 ", .fds = "1", .names = {}}), "LISTEN_PID=77  is no number");
  EXPECT_EQ(why({.pid = "77", .fds = "-1", .names = {}}), "LISTEN_FDS=-1 is no number up to 64");
  EXPECT_EQ(why({.pid = "77", .fds = "65", .names = {}}), "LISTEN_FDS=65 is no number up to 64");
  EXPECT_EQ(why({.pid = "77", .fds = "1x", .names = {}}), "LISTEN_FDS=1x is no number up to 64");
  EXPECT_EQ(why({.pid = "77", .fds = "2", .names = "a"}),
            "LISTEN_FDNAMES=a does not name 2 descriptors");
  EXPECT_EQ(why({.pid = "77", .fds = "1", .names = "a:b"}),
            "LISTEN_FDNAMES=a:b does not name 1 descriptors");
}

TEST(ListenFds, LeaveNothingForAChildToBelieve) {
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"})
    setenv(name, "1", 1);
  const ListenVariables taken = take_listen_variables();
  EXPECT_EQ(taken.pid, "1");
  EXPECT_EQ(taken.fds, "1");
  EXPECT_EQ(taken.names, "1");
  EXPECT_EQ(std::getenv("LISTEN_PID"), nullptr);
  EXPECT_FALSE(take_listen_variables().fds);
}

}  // namespace
}  // namespace airlock::cli
