// SPDX-License-Identifier: Apache-2.0
//
// What a process in the sandbox can still do: each test has a child go in and work there.
#include "sandbox/sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <functional>
#include <string>
#include <thread>

#include "base/event_fd.h"
#include "base/fd.h"
#include "sandbox/refusal.h"

namespace airlock::sandbox {
namespace {

struct Ended {
  int status = 0;           // of waitpid
  std::string stderr_text;  // all that it wrote
};

/// Runs `body` in a child; its result is the exit status.
Ended in_child(const std::function<int()>& body) {
  std::array<int, 2> ends{};
  EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    _exit(body());
  }
  close(ends[1]);
  Ended ended;
  std::array<char, 512> buffer{};
  for (ssize_t got = 0; (got = read(ends[0], buffer.data(), buffer.size())) > 0;) {
    ended.stderr_text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  close(ends[0]);
  EXPECT_EQ(waitpid(child, &ended.status, 0), child);
  return ended;
}

bool exited(const Ended& ended, int status) {
  return WIFEXITED(ended.status) && WEXITSTATUS(ended.status) == status;
}

TEST(Sandbox, ReportsEveryMeasureOnce) {
  const Ended ended = in_child([] {
    const Report report = enter(kDeviceProfile);
    if (report.findings().size() != kMeasures.size()) return 1;
    for (std::size_t i = 0; i < kMeasures.size(); ++i) {
      const Finding& finding = report.findings()[i];
      if (finding.measure != kMeasures[i] || (!finding.in_force && finding.note.empty())) return 2;
    }
    return report.has(Measure::kSystemCalls) == relaxed_build() ? 3 : 0;
  });
  EXPECT_TRUE(exited(ended, 0)) << ended.status << ended.stderr_text;
}

TEST(Sandbox, TakesOnlyWhatIsAskedFor) {
  const Ended ended = in_child([] {
    const Report report =
        enter({.role = Role::kDevice, .measures = Measure::kLimits | Measure::kNotDumpable});
    const Fd file(open("/", O_RDONLY | O_CLOEXEC));
    return report.findings().size() == 2 && report.complete() && file ? 0 : 1;
  });
  EXPECT_TRUE(exited(ended, 0)) << ended.status << ended.stderr_text;
}

// Goal: a device can do its work. Method: threads, memory, a region, a message with a descriptor,
// I/O to an open file, in the sandbox.
TEST(Sandbox, DeviceWorks) {
  const Ended ended = in_child([] {
    const Fd file(open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    std::array<int, 2> ends{};
    if (!file || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) return 1;
    enter(kDeviceProfile);
    std::array<char, 4> bytes{'f', 'i', 'l', 'e'};
    const iovec piece{.iov_base = bytes.data(), .iov_len = bytes.size()};
    int result = 0;
    std::thread([&] {
      if (pwritev2(file.get(), &piece, 1, 0, 0) != 4 || fdatasync(file.get()) != 0) result = 2;
    }).join();
    const Fd region(memfd_create("region", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!region || ftruncate(region.get(), 4096) != 0) return 3;
    if (fcntl(region.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) return 4;
    const std::string large(std::size_t{1} << 24, 'x');
    if (write(ends[0], large.data(), 1) != 1 || read(ends[1], bytes.data(), 1) != 1) return 5;
    const auto event = EventFd::create();
    if (!event) return 6;
    event->signal();
    return event->drain() ? result : 7;
  });
  EXPECT_TRUE(exited(ended, 0)) << ended.status << ended.stderr_text;
  EXPECT_EQ(ended.stderr_text, "");
}

TEST(Sandbox, LimitsStay) {
  const Ended ended = in_child([] {
    rlimit before{};
    getrlimit(RLIMIT_NOFILE, &before);
    enter({.role = Role::kDevice, .measures = Measure::kLimits});
    rlimit after{};
    getrlimit(RLIMIT_NOFILE, &after);
    rlimit core{};
    getrlimit(RLIMIT_CORE, &core);
    return after.rlim_max == before.rlim_cur && after.rlim_cur == before.rlim_cur &&
                   core.rlim_max == 0
               ? 0
               : 1;
  });
  EXPECT_TRUE(exited(ended, 0)) << ended.status;
}

// Goal: who wonders why something fails finds the call's name, and no flood of it.
TEST(Sandbox, RefusalsAreNamedOnStderr) {
  if (relaxed_build()) GTEST_SKIP() << "this build has no filter of system calls";
  const Ended ended = in_child([] {
    enter(kDeviceProfile);
    for (int i = 0; i < 3 * kRefusalLines; ++i) {
      errno = 0;
      if (open("/", O_RDONLY | O_CLOEXEC) != -1 || errno != EPERM) return 1;
    }
    return 0;
  });
  EXPECT_TRUE(exited(ended, 0)) << ended.status;
  const std::string line = "airlock: warning: sandbox: refused the system call openat (";
  EXPECT_TRUE(ended.stderr_text.starts_with(line)) << ended.stderr_text;
  EXPECT_EQ(std::ranges::count(ended.stderr_text, '\n'), kRefusalLines);
}

TEST(Sandbox, SigsysFromElsewhereChangesNothing) {
  const Ended ended = in_child([] {
    enter(kDeviceProfile);
    raise(SIGSYS);
    return 0;
  });
  EXPECT_TRUE(relaxed_build() || exited(ended, 0)) << ended.status << ended.stderr_text;
  EXPECT_EQ(ended.stderr_text, "");
}

TEST(Sandbox, DeadlyCallEndsTheProcess) {
  if (relaxed_build()) GTEST_SKIP() << "this build has no filter of system calls";
  const Ended ended = in_child([] {
    enter(kGuardProfile);
    return socket(AF_UNIX, SOCK_STREAM, 0) < 0 ? 1 : 2;
  });
  EXPECT_TRUE(WIFSIGNALED(ended.status) && WTERMSIG(ended.status) == SIGSYS) << ended.status;
}

TEST(Sandbox, AbortStillAborts) {
  const Ended ended = in_child([]() -> int {
    enter(kDeviceProfile);
    abort();
  });
  EXPECT_TRUE(WIFSIGNALED(ended.status) && WTERMSIG(ended.status) == SIGABRT) << ended.status;
}

// Goal: its single thread is a condition, not a hope. Method: a second one waits meanwhile.
TEST(Sandbox, SecondThreadIsOurOwnBug) {
  if (relaxed_build()) GTEST_SKIP() << "instrumentation may have threads of its own";
  const Ended ended = in_child([] {
    std::array<int, 2> never{};
    if (pipe2(never.data(), O_CLOEXEC) != 0) return 1;
    std::thread([end = never[0]] {
      char byte = 0;
      [[maybe_unused]] const ssize_t got = read(end, &byte, 1);
    }).detach();
    enter(kDeviceProfile);
    return 0;
  });
  EXPECT_TRUE(WIFSIGNALED(ended.status)) << ended.status;
}

}  // namespace
}  // namespace airlock::sandbox
