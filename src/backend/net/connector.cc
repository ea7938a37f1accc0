// SPDX-License-Identifier: Apache-2.0
#include "backend/net/connector.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

namespace airlock::backend {

namespace {

// Orders, of one byte.
constexpr char kOnce = 'o';
constexpr char kUntilDone = 'u';

constexpr int kPauseMsMin = 20;
constexpr int kPauseMsMax = 1000;

constexpr int kWay = 3;  // the number it has in the child

/// An answer: an errno, and with 0 a descriptor.
void answer(const Result<Fd>& made) {
  int error = made ? 0 : static_cast<int>(made.error().detail);
  if (!made && error == 0) error = EIO;
  iovec bytes{.iov_base = &error, .iov_len = sizeof error};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  if (made) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    const int fd = made->get();
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  static_cast<void>(sendmsg(kWay, &message, MSG_NOSIGNAL));
}

/// Waits, unless an order comes meanwhile, or the end.
void pause_or_end(int milliseconds) {
  pollfd way{.fd = kWay, .events = POLLIN, .revents = 0};
  const int ready = poll(&way, 1, milliseconds);
  if (ready > 0 && (way.revents & (POLLHUP | POLLERR)) != 0) _exit(0);
}

/// In the child, until the other end of the way is closed.
[[noreturn]] void obey(const SocketMaker& make) {
  for (;;) {
    char order = 0;
    const ssize_t got = read(kWay, &order, sizeof order);
    if (got < 0 && errno == EINTR) continue;
    if (got != sizeof order) _exit(0);
    if (order == kOnce) {
      answer(make());
      continue;
    }
    // Also the first time: a peer that hangs up at once is not called without a pause.
    int pause = kPauseMsMin;
    for (bool done = false; !done; pause = std::min(2 * pause, kPauseMsMax)) {
      pause_or_end(pause);
      const auto made = make();
      done = made.has_value();
      if (done) answer(made);
    }
  }
}

/// In the child: gives up all that it does not need.
void settle_in(int way) {
  if (way != kWay && dup2(way, kWay) < 0) _exit(1);
  if (fcntl(kWay, F_SETFD, FD_CLOEXEC) != 0) _exit(1);
  if (close_range(kWay + 1, ~0U, 0) != 0) _exit(1);
  const int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(nothing, STDOUT_FILENO) < 0) _exit(1);
  // A signal to the whole group is the server's to act on.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  static_cast<void>(std::signal(SIGCHLD, SIG_IGN));  // programs that it starts are not waited for
  prctl(PR_SET_NAME, "net-connector", 0, 0, 0);
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

}  // namespace

Result<Connector> Connector::start(const SocketMaker& make) {
  std::array<int, 2> ends{-1, -1};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail(system_error());
  }
  Fd mine(ends[0]);
  const Fd its(ends[1]);
  const pid_t child = fork();
  if (child < 0) return fail(system_error());
  if (child == 0) {
    settle_in(its.get());
    obey(make);
  }
  return Connector(std::move(mine));
}

Result<Fd> Connector::make() {
  if (send(way_.get(), &kOnce, sizeof kOnce, MSG_NOSIGNAL) < 0) return fail(Errc::kPeerClosed);
  for (;;) {
    pollfd way{.fd = way_.get(), .events = POLLIN, .revents = 0};
    if (poll(&way, 1, -1) < 0 && errno != EINTR) return fail(system_error());
    Fd made = TRY(take());
    if (made) return made;
  }
}

void Connector::ask() {
  static_cast<void>(send(way_.get(), &kUntilDone, sizeof kUntilDone, MSG_NOSIGNAL | MSG_DONTWAIT));
}

Result<Fd> Connector::take() {
  int error = 0;
  iovec bytes{.iov_base = &error, .iov_len = sizeof error};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t got = recvmsg(way_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return Fd();
  if (got < 0) return fail(system_error());
  if (got == 0) return fail(Errc::kPeerClosed);
  const cmsghdr* const header = CMSG_FIRSTHDR(&message);
  if (header == nullptr) return fail(system_error(error == 0 ? EIO : error));
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return Fd(fd);
}

}  // namespace airlock::backend
