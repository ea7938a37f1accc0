// SPDX-License-Identifier: Apache-2.0
#include "compare/message.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "wire/socket.h"

namespace airlock::compare {

namespace {

Result<void> wait_for(const Fd& fd, short events, std::chrono::milliseconds timeout) {
  pollfd watched = {.fd = fd.get(), .events = events, .revents = 0};
  int ready = -1;
  do {
    ready = ::poll(&watched, 1, static_cast<int>(timeout.count()));
  } while (ready < 0 && errno == EINTR);
  if (ready < 0) return fail(system_error());
  if (ready == 0) {
    return fail({.code = Errc::kTimeout, .detail = static_cast<std::uint32_t>(timeout.count())});
  }
  return {};
}

}  // namespace

Result<SocketPair> socket_pair() {
  std::array<int, 2> fds{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds.data()) != 0) {
    return fail(system_error());
  }
  return SocketPair{.first = Fd(fds[0]), .second = Fd(fds[1])};
}

Result<void> wait_readable(const Fd& fd, std::chrono::milliseconds timeout) {
  return wait_for(fd, POLLIN, timeout);
}

Result<void> send_packet(const Fd& socket, std::span<const std::byte> bytes,
                         std::span<const int> fds) {
  while (TRY(vfio_user::send_some(socket.get(), bytes, fds)) == 0)
    TRY(wait_for(socket, POLLOUT, kAnswerWithin));
  return {};
}

Result<std::vector<Fd>> receive_packet(const Fd& socket, std::span<std::byte> target,
                                       std::chrono::milliseconds timeout) {
  TRY(wait_readable(socket, timeout));
  // One byte of room more, so that a packet which is too long shows.
  std::vector<std::byte> room(target.size() + 1);
  vfio_user::Received received = TRY(vfio_user::receive_bytes(socket.get(), room));
  if (received.bytes != target.size() || received.fds_truncated) return fail(Errc::kMalformed);
  std::copy_n(room.begin(), target.size(), target.begin());
  return std::move(received.fds);
}

}  // namespace airlock::compare
