// SPDX-License-Identifier: Apache-2.0
#include "base/helper_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <string>

#include <gtest/gtest.h>

namespace airlock {
namespace {

// What a process says of itself, in one message.
struct Report {
  std::array<bool, 64> open{};
  std::array<char, 16> name{};
  bool dumpable = true;
  bool no_new_privileges = false;
  bool terminate_blocked = false;

  friend bool operator==(const Report&, const Report&) = default;
};

void report_when_asked(int way) {
  char order = 0;
  while (read(way, &order, sizeof order) == sizeof order) {
    Report report;
    for (std::size_t fd = 0; fd < report.open.size(); ++fd)
      report.open.at(fd) = fcntl(static_cast<int>(fd), F_GETFD) >= 0;
    prctl(PR_GET_NAME, report.name.data(), 0, 0, 0);
    report.dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0;
    report.no_new_privileges = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
    sigset_t blocked;
    sigprocmask(SIG_SETMASK, nullptr, &blocked);
    report.terminate_blocked = sigismember(&blocked, SIGTERM) == 1;
    if (write(way, &report, sizeof report) != sizeof report) return;
  }
}

Report ask(const Fd& way) {
  Report report;
  EXPECT_EQ(write(way.get(), "?", 1), 1);
  EXPECT_EQ(read(way.get(), &report, sizeof report), static_cast<ssize_t>(sizeof report));
  return report;
}

TEST(HelperProcess, HasNothingOpenButItsWay) {
  const Fd other(open("/dev/null", O_RDWR));  // without close-on-exec
  const auto ways = start_helper({.name = "a-helper"}, [] { report_when_asked(helper_way()); });
  ASSERT_TRUE(ways);
  Report expected{.dumpable = false, .no_new_privileges = true, .terminate_blocked = true};
  for (int fd = 0; fd <= helper_way(); ++fd)
    expected.open.at(static_cast<std::size_t>(fd)) = true;
  std::string("a-helper").copy(expected.name.data(), expected.name.size());
  EXPECT_EQ(ask(ways->front()), expected);
}

TEST(HelperProcess, WhichStartsProgramsIsAllowedWhatTheyNeed) {
  const auto ways = start_helper({.name = "a-helper", .starts_programs = true},
                                 [] { report_when_asked(helper_way()); });
  ASSERT_TRUE(ways);
  const Report report = ask(ways->front());
  EXPECT_FALSE(report.no_new_privileges);
  EXPECT_FALSE(report.dumpable);
}

TEST(HelperProcess, HasItsWaysInOrder) {
  constexpr std::size_t kWays = 5;
  const auto ways = start_helper({.name = "a-helper", .ways = kWays}, [] {
    for (std::size_t i = 0; i < kWays; ++i)
      static_cast<void>(write(helper_way(i), &i, sizeof i));
  });
  ASSERT_TRUE(ways);
  ASSERT_EQ(ways->size(), kWays);
  for (std::size_t i = 0; i < kWays; ++i) {
    std::size_t said = kWays;
    EXPECT_EQ(read(ways->at(i).get(), &said, sizeof said), static_cast<ssize_t>(sizeof said));
    EXPECT_EQ(said, i);
  }
}

TEST(HelperProcess, ReadsTheEndWhenItsWayIsClosed) {
  auto ways = start_helper({.name = "a-helper", .ways = 2}, [] {
    char order = 0;
    while (read(helper_way(0), &order, sizeof order) > 0) {
    }
    static_cast<void>(write(helper_way(1), "e", 1));
  });
  ASSERT_TRUE(ways);
  ways->front().reset();
  char said = 0;
  EXPECT_EQ(read(ways->back().get(), &said, sizeof said), 1);
  EXPECT_EQ(said, 'e');
  // And its own end is ours.
  EXPECT_EQ(read(ways->back().get(), &said, sizeof said), 0);
}

}  // namespace
}  // namespace airlock
