// SPDX-License-Identifier: Apache-2.0
#include "sandbox/self_test.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <cerrno>
#include <string>
#include <vector>

#include "sandbox/sandbox.h"
#include "sandbox/trials.h"

namespace airlock::sandbox {
namespace {

struct Lines {
  bool good = false;
  std::vector<std::string> lines;
};

Lines test(const Profile& profile) {
  Lines result;
  result.good = self_test(profile, [&](std::string_view line) { result.lines.emplace_back(line); });
  return result;
}

std::string all_of(const Lines& result) {
  std::string text;
  for (const std::string& line : result.lines)
    text += line + "\n";
  return text;
}

Trial of(std::string_view name) {
  for (const auto trials : {measure_trials(), common_trials(), role_trials(Role::kGuard)}) {
    for (const Trial& trial : trials) {
      if (name == trial.name) return trial;
    }
  }
  ADD_FAILURE() << "no trial " << name;
  return {};
}

/// Whether this one can't be seen to fail here: the test itself was started under it; or it is for
/// who has the right to begin with.
bool prevented_anyway(const Trial& trial) {
  rlimit core{};
  getrlimit(RLIMIT_CORE, &core);
  switch (trial.of) {
    case Measure::kLimits:
      return core.rlim_max == 0;
    case Measure::kNoNewPrivileges:
      return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
    case Measure::kUserNamespace:
    case Measure::kCapabilities:
      return true;
    default:
      return false;
  }
}

// Goal: nothing that the sandbox has to prevent succeeds, in either role. Method: the self-test.
TEST(SandboxSelfTest, EverythingIsPreventedOrItsMeasureIsMissingHere) {
  for (const Profile& profile : {kGuardProfile, kDeviceProfile}) {
    const Lines result = test(profile);
    EXPECT_TRUE(result.good) << all_of(result);
    for (const std::string& line : result.lines) {
      EXPECT_TRUE(line.starts_with("ok ") || line.starts_with("skipped ")) << line;
    }
  }
}

// Goal: the self-test can fail. Method: no measure is taken, and what anybody may do is done.
TEST(SandboxSelfTest, FailsWithoutASandbox) {
  const Lines result = test({.role = Role::kGuard, .measures = Measures()});
  EXPECT_FALSE(result.good);
  for (const char* const name :
       {"open a file", "start a process", "socket", "map memory for code", "turn memory into code",
        "signal the parent", "make a memory file", "not dumpable: be read by others"}) {
    EXPECT_NE(all_of(result).find(std::string("FAILED ") + name + ": "), std::string::npos)
        << name << "\n"
        << all_of(result);
  }
}

// Goal: each measure prevents its trial by itself, and not another one. Method: its trial with all
// measures that it needs but itself.
TEST(SandboxSelfTest, EachMeasureIsMissedWhereItIsLeftOut) {
  for (const Trial& trial : measure_trials()) {
    if (prevented_anyway(trial)) continue;
    Measures others;
    for (const Measure measure : kMeasures) {
      if (measure != trial.of && trial.taken.has(measure)) others = others | measure;
    }
    const Outcome outcome = run(trial, {.role = Role::kGuard, .measures = others});
    EXPECT_EQ(outcome.kind, Outcome::Kind::kDone) << trial.name << ": " << outcome.text;
  }
}

// Goal: what no honest code does ends the process, and the rest is an error. Method: one of each.
TEST(SandboxSelfTest, DeadlyCallsKillAndOthersAreRefused) {
  if (relaxed_build()) GTEST_SKIP() << "this build has no filter of system calls";
  EXPECT_EQ(run(of("execve"), kDeviceProfile).text, "killed (SIGSYS)");
  EXPECT_EQ(run(of("socket"), kGuardProfile).text, "killed (SIGSYS)");
  EXPECT_EQ(run(of("open a file"), kDeviceProfile).text, "refused (EPERM)");
  EXPECT_EQ(run(of("make an io_uring"), kDeviceProfile).text, "refused (EPERM)");
  // A device makes its regions itself; a guard is given them.
  EXPECT_EQ(run(of("make a memory file"), kGuardProfile).text, "refused (EPERM)");
  EXPECT_EQ(run(of("make a memory file"), kDeviceProfile).text, "nothing prevented it");
}

TEST(SandboxSelfTest, AnotherErrorIsNoRefusal) {
  const Trial trial{.name = "something else", .attempt = [](const Outside&) { return ENOENT; }};
  const Outcome outcome = run(trial, {.role = Role::kGuard, .measures = Measures()});
  EXPECT_EQ(outcome.kind, Outcome::Kind::kDone);
  EXPECT_EQ(outcome.text, "errno 2");
}

}  // namespace
}  // namespace airlock::sandbox
