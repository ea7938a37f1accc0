// SPDX-License-Identifier: Apache-2.0
#include "sandbox/lonely_process.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>

#include "sandbox/namespaces.h"

namespace airlock::sandbox {

namespace {

constexpr int kCannotHide = 126;

// The /proc that is mounted shows the processes of whoever mounted it.
bool hide_others() {
  constexpr unsigned long kFlags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (mount("", "/", nullptr, MS_SLAVE | MS_REC, nullptr) != 0) return false;
  if (mount("proc", "/proc", "proc", kFlags, nullptr) == 0) return true;
  // Where parts of /proc are covered up, nobody but root may mount another: then there is none.
  return mount("tmpfs", "/proc", "tmpfs", kFlags | MS_RDONLY, "size=4k,nr_inodes=1") == 0;
}

}  // namespace

Result<pid_t> fork_alone() {
  const uid_t user = geteuid();
  const gid_t group = getegid();
  const bool own_user = user != 0;
  const unsigned long flags = SIGCHLD | CLONE_NEWPID | CLONE_NEWNS | (own_user ? CLONE_NEWUSER : 0);
  const auto pid = static_cast<pid_t>(syscall(SYS_clone, flags, 0, 0, 0, 0));
  if (pid < 0) return fail(system_error());
  if (pid > 0) return pid;
  // Without the maps it has no name for itself, and all the same no more rights.
  if (own_user) static_cast<void>(map_own_ids(user, group));
  if (!hide_others()) _exit(kCannotHide);
  return 0;
}

}  // namespace airlock::sandbox
