// SPDX-License-Identifier: Apache-2.0
#include "base/helper_process.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <span>

namespace airlock {

namespace {

/// Leaves `ends` open, where they belong, and nothing else: whoever waits for the end of the
/// server's output waits for no other process, and the server's ends are the server's alone.
bool keep_only(std::span<const Fd> ends, bool with_stderr) {
  // First out of each other's way.
  const int free = helper_way(ends.size());
  std::vector<int> moved;
  for (const Fd& end : ends) {
    moved.push_back(fcntl(end.get(), F_DUPFD_CLOEXEC, free));
    if (moved.back() < 0) return false;
  }
  for (std::size_t i = 0; i < moved.size(); ++i) {
    if (dup3(moved[i], helper_way(i), O_CLOEXEC) < 0) return false;
  }
  if (close_range(static_cast<unsigned>(free), ~0U, 0) != 0) return false;
  const int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
  const int last = with_stderr ? STDOUT_FILENO : STDERR_FILENO;
  for (int standard = STDIN_FILENO; standard <= last; ++standard) {
    if (dup2(nowhere, standard) < 0) return false;
  }
  return close(nowhere) == 0;
}

[[noreturn]] void run(const HelperProcess& helper, std::span<const Fd> ends,
                      const std::function<void()>& work) {
  if (!keep_only(ends, helper.starts_programs)) _exit(1);
  // A signal to the whole group is the server's to act on.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  static_cast<void>(std::signal(SIGCHLD, SIG_IGN));
  prctl(PR_SET_NAME, helper.name, 0, 0, 0);
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  if (!helper.starts_programs) prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  work();
  _exit(0);
}

}  // namespace

Result<std::vector<Fd>> start_helper(const HelperProcess& helper,
                                     const std::function<void()>& work) {
  std::vector<Fd> mine;
  std::vector<Fd> its;
  for (std::size_t i = 0; i < helper.ways; ++i) {
    std::array<int, 2> ends{-1, -1};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
      return fail(system_error());
    }
    mine.emplace_back(ends[0]);
    its.emplace_back(ends[1]);
  }
  const pid_t child = fork();
  if (child < 0) return fail(system_error());
  if (child == 0) run(helper, its, work);
  return mine;
}

}  // namespace airlock
