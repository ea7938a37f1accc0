// SPDX-License-Identifier: Apache-2.0
#include "vhost_user/connector.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/helper_process.h"
#include "sandbox/sandbox.h"
#include "wire/message.h"
#include "wire/socket.h"

namespace airlock::vhost_user {

namespace {

/// Paths stay, as there is one to go: Landlock says nothing of connecting to sockets.
constexpr sandbox::Profile kConnectorProfile{
    .role = sandbox::Role::kDevice,
    .measures = sandbox::Measure::kLimits | sandbox::Measure::kNoNewPrivileges |
                sandbox::Measure::kLandlock | sandbox::Measure::kNotDumpable};

Result<Connection> connect_to(const sockaddr_un& address) {
  // Non-blocking: a backend with a full backlog is one to come back to, not to wait for.
  Fd socket = TRY(own_fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)));
  if (::connect(socket.get(), vfio_user::as_sockaddr(address), sizeof address) != 0) {
    return fail(system_error());
  }
  std::array<int, 2> ends{-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail(system_error());
  }
  return Connection{
      .socket = std::move(socket), .channel = Fd(ends[0]), .backend_channel = Fd(ends[1])};
}

/// In the process, until the other end of the way is closed.
void connect_when_asked(const sockaddr_un& address) {
  static_cast<void>(sandbox::enter(kConnectorProfile));
  char again = 0;
  while (read(helper_way(), &again, sizeof again) == sizeof again) {
    const Result<Connection> made = connect_to(address);
    const std::uint32_t error = made ? 0 : made.error().detail;
    std::vector<int> fds;
    if (made) fds = {made->socket.get(), made->channel.get(), made->backend_channel.get()};
    if (!vfio_user::send_some(helper_way(), vfio_user::bytes_of(error), fds)) return;
  }
}

}  // namespace

Result<Connector> Connector::start(const std::string& path) {
  const sockaddr_un address = TRY(vfio_user::unix_address(path));
  auto ways = TRY(start_helper({.name = "connector"}, [&] { connect_when_asked(address); }));
  return Connector(std::move(ways.front()));
}

Result<void> Connector::ask() {
  if (asked_) return {};
  const char again = 0;
  if (send(way_.get(), &again, sizeof again, MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof again) {
    return fail(system_error());
  }
  asked_ = true;
  return {};
}

Result<Connection> Connector::take() {
  std::uint32_t error = 0;
  vfio_user::Received received =
      TRY(vfio_user::receive_bytes(way_.get(), std::as_writable_bytes(std::span(&error, 1))));
  if (received.bytes == 0) return Connection();
  asked_ = false;
  if (error != 0) return fail(system_error(static_cast<int>(error)));
  auto& fds = received.fds;
  if (received.bytes != sizeof error || fds.size() != 3) return fail(Errc::kMalformed);
  return Connection{.socket = std::move(fds[0]),
                    .channel = std::move(fds[1]),
                    .backend_channel = std::move(fds[2])};
}

Result<Connection> Connector::connect() {
  TRY(ask());
  pollfd state{.fd = way_.get(), .events = POLLIN, .revents = 0};
  while (poll(&state, 1, -1) < 0 && errno == EINTR) {
  }
  return take();
}

}  // namespace airlock::vhost_user
