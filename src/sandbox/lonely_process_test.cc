// SPDX-License-Identifier: Apache-2.0
#include "sandbox/lonely_process.h"

#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include <gtest/gtest.h>

namespace airlock::sandbox {
namespace {

// What the child says of `tried`: true is exit status 0. Nothing if this machine has no namespaces.
std::optional<bool> alone(const std::function<bool()>& tried) {
  const auto pid = fork_alone();
  if (!pid) return std::nullopt;
  if (*pid == 0) _exit(tried() ? 0 : 1);
  int status = 0;
  EXPECT_EQ(waitpid(*pid, &status, 0), *pid);
  EXPECT_TRUE(WIFEXITED(status));
  return WEXITSTATUS(status) == 0;
}

#define ALONE(...)                                               \
  const auto outcome = alone(__VA_ARGS__);                       \
  if (!outcome) GTEST_SKIP() << "no namespaces on this machine"; \
  EXPECT_TRUE(*outcome)

TEST(LonelyProcessTest, ItIsTheFirstOfItsWorld) {
  ALONE([] { return getpid() == 1; });
}

TEST(LonelyProcessTest, ProcShowsNobodyElse) {
  ALONE([] {
    int others = 0;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
      const std::string name = entry.path().filename();
      others += name.find_first_not_of("0123456789") == std::string::npos && name != "1" ? 1 : 0;
    }
    return others == 0;
  });
}

TEST(LonelyProcessTest, ItsParentCannotBeSignalledOrRead) {
  static int secret = 42;
  const pid_t parent = getpid();
  ALONE([parent] {
    int stolen = 0;
    const iovec to{.iov_base = &stolen, .iov_len = sizeof stolen};
    const iovec from{.iov_base = &secret, .iov_len = sizeof secret};
    // The number may be that of another process one day, never of one out here.
    return parent == 1 || (kill(parent, 0) != 0 && errno == ESRCH &&
                           process_vm_readv(parent, &to, 1, &from, 1, 0) < 0);
  });
}

// The twin: an ordinary child can.
TEST(LonelyProcessTest, AnOrdinaryChildSeesItsParent) {
  const pid_t parent = getpid();
  const pid_t pid = fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) _exit(kill(parent, 0) == 0 ? 0 : 1);
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(LonelyProcessTest, FilesAreWhatTheyWere) {
  ALONE([] { return access("/bin/sh", X_OK) == 0 && getuid() == geteuid(); });
}

}  // namespace
}  // namespace airlock::sandbox
