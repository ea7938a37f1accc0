// SPDX-License-Identifier: Apache-2.0
#include "backend/nbd/nbd_connector.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>
#include <span>

#include "backend/net/socket_address.h"

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

void answer(const Fd& way, const Connected& outcome) {
  Answer text{.connected = outcome ? char{1} : char{0}};
  if (!outcome) {
    const std::size_t length = std::min(outcome.error().size(), text.why.size() - 1);
    std::ranges::copy_n(outcome.error().begin(), static_cast<std::ptrdiff_t>(length),
                        text.why.begin());
  }
  iovec bytes{.iov_base = &text, .iov_len = sizeof text};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  if (outcome) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    const int fd = outcome->get();
    std::memcpy(CMSG_DATA(head), &fd, sizeof fd);
  }
  // Who asked has gone: its way says so to poll.
  static_cast<void>(sendmsg(way.get(), &message, MSG_NOSIGNAL));
}

/// Closes all but these and the first three, which lead nowhere from here on: whoever waits for the
/// end of the server's stderr waits for no other process.
bool keep_only(std::span<const Fd> ways) {
  const Fd nowhere(open("/dev/null", O_RDWR | O_CLOEXEC));
  std::vector<unsigned> kept;
  kept.reserve(ways.size());
  for (const Fd& way : ways)
    kept.push_back(static_cast<unsigned>(way.get()));
  std::ranges::sort(kept);
  for (int standard = STDIN_FILENO; standard <= STDERR_FILENO; ++standard) {
    if (std::ranges::binary_search(kept, static_cast<unsigned>(standard))) return false;
    if (dup2(nowhere.get(), standard) < 0) return false;
  }
  unsigned from = STDERR_FILENO + 1;
  for (const unsigned fd : kept) {
    if (fd > from && close_range(from, fd - 1, 0) != 0) return false;
    from = fd + 1;
  }
  return close_range(from, ~0U, 0) == 0;
}

/// In the child. Never returns.
[[noreturn]] void connect_when_asked(const Connect& connect, std::vector<Fd> ways) {
  if (!keep_only(ways)) _exit(1);
  // A signal to the whole group is the server's to act on.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  static_cast<void>(std::signal(SIGCHLD, SIG_IGN));  // those that it starts end by themselves
  prctl(PR_SET_NAME, "nbd-connector", 0, 0, 0);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  std::vector<pollfd> fds;
  fds.reserve(ways.size());
  for (const Fd& way : ways)
    fds.push_back({.fd = way.get(), .events = POLLIN, .revents = 0});
  while (!fds.empty()) {
    if (poll(fds.data(), fds.size(), -1) < 0) continue;
    for (std::size_t i = 0; i < fds.size(); ++i) {
      if (fds[i].revents == 0) continue;
      char asked = 0;
      if (read(ways[i].get(), &asked, sizeof asked) == sizeof asked) {
        answer(ways[i], connect());
      } else {
        ways[i].reset();
      }
    }
    std::erase_if(fds, [&](const pollfd& one) {
      return std::ranges::none_of(ways, [&](const Fd& way) { return way.get() == one.fd; });
    });
    std::erase_if(ways, [](const Fd& way) { return !way; });
  }
  _exit(0);
}

}  // namespace

Connected connect_to(const NbdAddress& address) {
  if (!address.socket_path.empty()) return connect_unix(address.socket_path);
  return connect_tcp(address.host, address.port);
}

Result<std::vector<Fd>> start_connector(const Connect& connect, std::size_t count) {
  std::vector<Fd> mine;
  std::vector<Fd> its;
  for (std::size_t i = 0; i < count; ++i) {
    std::array<int, 2> ends{-1, -1};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
      return fail(system_error());
    }
    mine.emplace_back(ends[0]);
    its.emplace_back(ends[1]);
  }
  const pid_t child = fork();
  if (child < 0) return fail(system_error());
  if (child == 0) {
    mine.clear();
    connect_when_asked(connect, std::move(its));
  }
  return mine;
}

Result<void> ask_for_connection(const Fd& way) {
  const char now = 0;
  if (send(way.get(), &now, sizeof now, MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof now) return {};
  return errno == EPIPE ? fail(Errc::kPeerClosed) : fail(system_error());
}

Result<std::optional<Connected>> take_connection(const Fd& way) {
  Answer text;
  iovec bytes{.iov_base = &text, .iov_len = sizeof text};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t got = recvmsg(way.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return std::nullopt;
  if (got < 0) return fail(system_error());
  if (got != sizeof text) return fail(Errc::kPeerClosed);
  const cmsghdr* const head = CMSG_FIRSTHDR(&message);
  if (head != nullptr && head->cmsg_type == SCM_RIGHTS) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(head), sizeof fd);
    return Connected(Fd(fd));
  }
  text.why.back() = '\0';
  return Connected(std::unexpect, text.why.data());
}

}  // namespace airlock::backend
