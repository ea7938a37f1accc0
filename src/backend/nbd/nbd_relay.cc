// SPDX-License-Identifier: Apache-2.0
#include "backend/nbd/nbd_relay.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "base/log.h"
#include "sandbox/sandbox.h"

namespace airlock::backend {

namespace {

constexpr std::size_t kBufferBytes = std::size_t{128} << 10;
constexpr std::size_t kAnswerBytes = 4;
// Where the two ends are in the process.
constexpr int kClient = 3;
constexpr int kServer = 4;

/// Bytes on their way in one direction.
class Buffer {
 public:
  [[nodiscard]] bool empty() const { return first_ == end_; }
  [[nodiscard]] std::span<std::byte> room() {
    first_ = end_ = 0;
    return bytes_;
  }
  void filled(std::size_t count) { end_ = count; }
  [[nodiscard]] std::span<const std::byte> rest() const {
    return std::span(bytes_).subspan(first_, end_ - first_);
  }
  void taken(std::size_t count) { first_ += count; }

 private:
  std::vector<std::byte> bytes_ = std::vector<std::byte>(kBufferBytes);
  std::size_t first_ = 0;
  std::size_t end_ = 0;
};

bool passes(ssize_t outcome) {
  return outcome > 0 || (outcome < 0 && (errno == EAGAIN || errno == EINTR));
}

bool passes_tls(ssize_t outcome) {
  return outcome > 0 || (outcome < 0 && gnutls_error_is_fatal(static_cast<int>(outcome)) == 0);
}

class Relay {
 public:
  explicit Relay(gnutls_session_t tls) : tls_(tls) {}

  /// Until one of the two ends.
  void run(std::span<const std::byte> hello) {
    std::ranges::copy(hello, down_.room().begin());
    down_.filled(hello.size());
    while (wait() && read_client() && write_server() && read_server() && write_client()) {
    }
  }

 private:
  bool wait() {
    std::array<pollfd, 2> fds{
        {{.fd = kClient, .events = 0, .revents = 0}, {.fd = kServer, .events = 0, .revents = 0}}};
    if (up_.empty()) fds[0].events |= POLLIN;
    if (!down_.empty()) fds[0].events |= POLLOUT;
    if (down_.empty()) fds[1].events |= POLLIN;
    if (!up_.empty()) fds[1].events |= POLLOUT;
    const bool more = down_.empty() && gnutls_record_check_pending(tls_) > 0;
    if (poll(fds.data(), fds.size(), more ? 0 : -1) < 0) return errno == EINTR;
    // An end that is gone for good, while nothing was asked of it.
    return (fds[0].revents & (POLLERR | POLLHUP)) == 0 && (fds[1].revents & POLLERR) == 0;
  }
  bool read_client() {
    if (!up_.empty()) return true;
    const std::span<std::byte> room = up_.room();
    const ssize_t got = read(kClient, room.data(), room.size());
    if (got <= 0) return passes(got);
    up_.filled(static_cast<std::size_t>(got));
    const std::size_t dropped = std::min(to_drop_, static_cast<std::size_t>(got));
    up_.taken(dropped);
    to_drop_ -= dropped;
    return true;
  }
  bool write_server() {
    if (up_.empty()) return true;
    const std::span<const std::byte> rest = up_.rest();
    const ssize_t sent = gnutls_record_send(tls_, rest.data(), rest.size());
    if (sent > 0) up_.taken(static_cast<std::size_t>(sent));
    return passes_tls(sent);
  }
  bool read_server() {
    if (!down_.empty()) return true;
    const std::span<std::byte> room = down_.room();
    const ssize_t got = gnutls_record_recv(tls_, room.data(), room.size());
    if (got > 0) down_.filled(static_cast<std::size_t>(got));
    return passes_tls(got);
  }
  bool write_client() {
    if (down_.empty()) return true;
    const std::span<const std::byte> rest = down_.rest();
    const ssize_t sent = send(kClient, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (sent > 0) down_.taken(static_cast<std::size_t>(sent));
    return passes(sent);
  }

  gnutls_session_t tls_;
  Buffer up_;    // to the server
  Buffer down_;  // to the client
  std::size_t to_drop_ = kAnswerBytes;
};

/// In the child: never returns.
[[noreturn]] void relay(const TlsSession& session, int client, int server,
                        std::span<const std::byte> hello) {
  // Both lie above their places: neither overwrites the other.
  client = fcntl(client, F_DUPFD_CLOEXEC, kServer + 1);
  server = fcntl(server, F_DUPFD_CLOEXEC, kServer + 1);
  if (dup2(client, kClient) < 0 || dup2(server, kServer) < 0 ||
      close_range(kServer + 1, ~0U, 0) != 0) {
    _exit(1);
  }
  prctl(PR_SET_NAME, "nbd-tls", 0, 0, 0);
  gnutls_transport_set_int(session.tls, kServer);
  // It has two sockets, and the server is a peer that it has not heard the last of.
  static_cast<void>(sandbox::enter(sandbox::kGuardProfile));
  Relay(session.tls).run(hello);
  static_cast<void>(gnutls_bye(session.tls, GNUTLS_SHUT_WR));
  _exit(0);
}

}  // namespace

Connected start_relay(const TlsSession& session, const Fd& socket,
                      std::span<const std::byte> hello) {
  std::array<int, 2> ends{-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0) {
    return std::unexpected(describe(system_error()));
  }
  Fd client(ends[0]);
  const Fd its(ends[1]);
  const pid_t child = fork();
  if (child < 0) return std::unexpected(describe(system_error()));
  if (child == 0) relay(session, its.get(), socket.get(), hello);
  return client;
}

}  // namespace airlock::backend
