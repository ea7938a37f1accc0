// SPDX-License-Identifier: Apache-2.0
#include "backend/nbd/nbd_connector.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <span>

#include "backend/net/socket_address.h"
#include "base/helper_process.h"
#include "wire/socket.h"

namespace airlock::backend {

namespace {

constexpr int kNbdConnectMs = 10'000;
// Of a connection: silence before it is asked for a sign, between two questions, how many; and the
// time that something sent may go unacknowledged.
constexpr int kKeepIdleSeconds = 15;
constexpr int kKeepIntervalSeconds = 5;
constexpr int kKeepProbes = 3;
constexpr int kUnansweredMs = 30'000;

/// The answer to who asked; a connection comes with it.
struct Answer {
  char connected = 0;
  std::array<char, 255> why{};
};

std::string errno_text(int error) {
  return describe(system_error(error));
}

void set_option(const Fd& socket, int level, int option, int value) {
  static_cast<void>(setsockopt(socket.get(), level, option, &value, sizeof value));
}

/// 0, or an errno.
int connect_within(const Fd& socket, const sockaddr* address, socklen_t length) {
  if (connect(socket.get(), address, length) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  pollfd wait{.fd = socket.get(), .events = POLLOUT, .revents = 0};
  const int ready = poll(&wait, 1, kNbdConnectMs);
  if (ready <= 0) return ready == 0 ? ETIMEDOUT : errno;
  int error = 0;
  socklen_t size = sizeof error;
  return getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

Connected connect_unix(const std::string& path) {
  const auto address = SocketAddress::from_path(path);
  if (!address) return std::unexpected(errno_text(ENAMETOOLONG));
  Fd made(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!made) return std::unexpected(errno_text(errno));
  const timeval limit{.tv_sec = kNbdConnectMs / 1000, .tv_usec = 0};
  static_cast<void>(setsockopt(made.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit));
  if (const auto connected = address->connect(made); !connected) {
    return std::unexpected(describe(connected.error()));
  }
  return made;
}

Connected connect_tcp(const std::string& host, const std::string& port) {
  addrinfo wanted{};
  wanted.ai_family = AF_UNSPEC;
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int failure = getaddrinfo(host.c_str(), port.c_str(), &wanted, &list);
  if (failure != 0) return std::unexpected(gai_strerror(failure));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(list, freeaddrinfo);
  int error = EADDRNOTAVAIL;
  for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
    Fd made(socket(one->ai_family, one->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    error = made ? connect_within(made, one->ai_addr, one->ai_addrlen) : errno;
    if (error != 0) continue;
    set_option(made, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(made, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(made, IPPROTO_TCP, TCP_KEEPIDLE, kKeepIdleSeconds);
    set_option(made, IPPROTO_TCP, TCP_KEEPINTVL, kKeepIntervalSeconds);
    set_option(made, IPPROTO_TCP, TCP_KEEPCNT, kKeepProbes);
    set_option(made, IPPROTO_TCP, TCP_USER_TIMEOUT, kUnansweredMs);
    return made;
  }
  return std::unexpected(errno_text(error));
}

void answer(int way, const Connected& outcome) {
  Answer text{.connected = outcome ? char{1} : char{0}};
  if (!outcome) {
    const std::size_t length = std::min(outcome.error().size(), text.why.size() - 1);
    std::ranges::copy_n(outcome.error().begin(), static_cast<std::ptrdiff_t>(length),
                        text.why.begin());
  }
  const int fd = outcome ? outcome->get() : -1;
  // Who asked has gone: its way says so to poll.
  static_cast<void>(vfio_user::send_some(way, std::as_bytes(std::span(&text, 1)),
                                         std::span(&fd, outcome ? 1 : 0)));
}

/// In the process, until the other end of each way is closed.
void connect_when_asked(const Connect& connect, std::size_t count) {
  std::vector<pollfd> ways;
  ways.reserve(count);
  for (std::size_t i = 0; i < count; ++i)
    ways.push_back({.fd = helper_way(i), .events = POLLIN, .revents = 0});
  while (!ways.empty()) {
    if (poll(ways.data(), ways.size(), -1) < 0) continue;
    std::erase_if(ways, [&](const pollfd& way) {
      if (way.revents == 0) return false;
      char asked = 0;
      if (read(way.fd, &asked, sizeof asked) != sizeof asked) return true;
      answer(way.fd, connect());
      return false;
    });
  }
}

}  // namespace

Connected connect_to(const NbdAddress& address) {
  if (!address.socket_path.empty()) return connect_unix(address.socket_path);
  return connect_tcp(address.host, address.port);
}

Result<std::vector<Fd>> start_connector(const Connect& connect, std::size_t count) {
  return start_helper({.name = "nbd-connector", .ways = count},
                      [&] { connect_when_asked(connect, count); });
}

Result<void> ask_for_connection(const Fd& way) {
  const char now = 0;
  if (send(way.get(), &now, sizeof now, MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof now) return {};
  return errno == EPIPE ? fail(Errc::kPeerClosed) : fail(system_error());
}

Result<std::optional<Connected>> take_connection(const Fd& way) {
  Answer text;
  vfio_user::Received received =
      TRY(vfio_user::receive_bytes(way.get(), std::as_writable_bytes(std::span(&text, 1))));
  if (received.bytes == 0) return std::nullopt;
  if (received.bytes != sizeof text) return fail(Errc::kPeerClosed);
  if (!received.fds.empty()) return Connected(std::move(received.fds.front()));
  text.why.back() = '\0';
  return Connected(std::unexpect, text.why.data());
}

}  // namespace airlock::backend
