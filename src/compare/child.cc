// SPDX-License-Identifier: Apache-2.0
#include "compare/child.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <vector>

#include "base/log.h"

namespace airlock::compare {

namespace {

constexpr unsigned kFirstOther = 3;  // after standard error

void close_between(unsigned first, unsigned last) {
  if (first <= last) static_cast<void>(::syscall(SYS_close_range, first, last, 0));
}

void close_all_but(std::span<const int> kept) {
  std::vector<unsigned> sorted(kept.begin(), kept.end());
  std::ranges::sort(sorted);
  unsigned next = kFirstOther;
  for (const unsigned fd : sorted) {
    if (fd > next) close_between(next, fd - 1);
    next = std::max(next, fd + 1);
  }
  close_between(next, ~0U);
}

}  // namespace

Result<Child> Child::start(const char* name, std::span<const int> kept,
                           const std::function<Result<void>()>& body) {
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return fail(system_error());
  if (pid > 0) return Child(pid);
  // The parent may have gone before it could be asked to take this one along.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != parent) ::_exit(1);
  close_all_but(kept);
  const Result<void> done = body();
  // A peer that hung up is how each of them ends.
  const bool ended = done || done.error().code == Errc::kPeerClosed;
  if (!ended) log(LogLevel::kError, "{}: {}", name, describe(done.error()));
  ::_exit(ended ? 0 : 1);
}

void Child::end() {
  if (pid_ == 0) return;
  static_cast<void>(::kill(pid_, SIGKILL));
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = 0;
}

Result<void> close_to_others() {
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return fail(system_error());
  return {};
}

}  // namespace airlock::compare
