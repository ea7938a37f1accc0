// SPDX-License-Identifier: Apache-2.0
#include "cli/socket_keeper.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace airlock::cli {

namespace {

/// The first message. The second is one byte: now.
struct Which {
  dev_t device;
  ino_t inode;
};

/// In the child. Never returns.
[[noreturn]] void keep_until_told(const std::string& path, int way) {
  // Whoever waits for the end of the server's stderr waits for ours as well; and the server's end
  // of the way must be the server's alone.
  if (dup2(way, STDIN_FILENO) < 0 || close_range(STDIN_FILENO + 1, ~0U, 0) != 0) _exit(1);
  // A signal to the whole group is the server's to act on.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  prctl(PR_SET_NAME, "socket-keeper", 0, 0, 0);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  Which which{};
  char now = 0;
  if (read(STDIN_FILENO, &which, sizeof which) == sizeof which &&
      read(STDIN_FILENO, &now, sizeof now) == sizeof now) {
    vfio_user::SocketFile{.path = path, .device = which.device, .inode = which.inode}.remove();
  }
  _exit(0);
}

}  // namespace

Result<SocketKeeper> SocketKeeper::start(const std::string& path) {
  std::array<int, 2> ends{-1, -1};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail(system_error());
  }
  Fd mine(ends[0]);
  const Fd its(ends[1]);
  const pid_t child = fork();
  if (child < 0) return fail(system_error());
  if (child == 0) keep_until_told(path, its.get());
  return SocketKeeper(std::move(mine));
}

Result<void> SocketKeeper::keep(const vfio_user::SocketFile& file) const {
  const Which which{.device = file.device, .inode = file.inode};
  if (write(way_.get(), &which, sizeof which) < 0) return fail(system_error());
  return {};
}

void SocketKeeper::remove() {
  if (!way_) return;
  char now = 0;
  if (write(way_.get(), &now, sizeof now) == sizeof now) {
    // It says nothing: its end is the answer.
    while (read(way_.get(), &now, sizeof now) < 0 && errno == EINTR) {
    }
  }
  way_.reset();
}

}  // namespace airlock::cli
