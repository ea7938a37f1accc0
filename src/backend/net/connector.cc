// SPDX-License-Identifier: Apache-2.0
#include "backend/net/connector.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <utility>

#include "base/helper_process.h"
#include "wire/socket.h"

namespace airlock::backend {

namespace {

// Orders, of one byte.
constexpr char kOnce = 'o';
constexpr char kUntilDone = 'u';

constexpr int kPauseMsMin = 20;
constexpr int kPauseMsMax = 1000;

/// An answer: an errno, and with 0 a descriptor.
void answer(const Result<Fd>& made) {
  int error = made ? 0 : static_cast<int>(made.error().detail);
  if (!made && error == 0) error = EIO;
  const int fd = made ? made->get() : -1;
  static_cast<void>(vfio_user::send_some(helper_way(), std::as_bytes(std::span(&error, 1)),
                                         std::span(&fd, made ? 1 : 0)));
}

/// Waits, unless an order comes meanwhile, or the end.
void pause_or_end(int milliseconds) {
  pollfd way{.fd = helper_way(), .events = POLLIN, .revents = 0};
  const int ready = poll(&way, 1, milliseconds);
  if (ready > 0 && (way.revents & (POLLHUP | POLLERR)) != 0) _exit(0);
}

/// In the process, until the other end of the way is closed.
void obey(const SocketMaker& make) {
  for (;;) {
    char order = 0;
    const ssize_t got = read(helper_way(), &order, sizeof order);
    if (got < 0 && errno == EINTR) continue;
    if (got != sizeof order) return;
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

}  // namespace

Result<Connector> Connector::start(const SocketMaker& make) {
  auto ways = TRY(
      start_helper({.name = "net-connector", .starts_programs = true}, [&make] { obey(make); }));
  return Connector(std::move(ways.front()));
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
  vfio_user::Received received =
      TRY(vfio_user::receive_bytes(way_.get(), std::as_writable_bytes(std::span(&error, 1))));
  if (received.bytes == 0) return Fd();
  if (received.fds.empty()) return fail(system_error(error == 0 ? EIO : error));
  return std::move(received.fds.front());
}

}  // namespace airlock::backend
