// SPDX-License-Identifier: Apache-2.0
//
// For tests: one end of a stream socket that sends and receives whatever bytes and fds it is told
// to, well-formed or not. It blocks, 10 s at most.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "wire/message.h"
#include "wire/socket.h"

namespace airlock::vfio_user {

using Bytes = std::vector<std::byte>;

inline std::ptrdiff_t open_fds() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

inline std::vector<Fd> some_eventfds(std::size_t count) {
  std::vector<Fd> fds;
  while (fds.size() < count)
    fds.push_back(MUST(own_fd(eventfd(0, EFD_CLOEXEC))));
  return fds;
}

inline Bytes operator+(Bytes first, const Bytes& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

/// A whole message. `flags` with VFIO_USER_F_TYPE_REPLY for a server's.
inline Bytes make_message(std::uint16_t id, std::uint16_t command, const Bytes& payload = {},
                          std::uint32_t flags = 0, std::uint32_t error = 0) {
  return bytes_of(
             spec::VfioUserHeader{.message_id = id,
                                  .command = command,
                                  .message_size = static_cast<std::uint32_t>(16 + payload.size()),
                                  .flags = flags,
                                  .error = error}) +
         payload;
}

class RawPeer {
 public:
  explicit RawPeer(Fd socket) : socket_(std::move(socket)) {
    const timeval limit = {.tv_sec = 10, .tv_usec = 0};
    for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO}) {
      CHECK(setsockopt(socket_.get(), SOL_SOCKET, option, &limit, sizeof limit) == 0);
    }
  }

  static RawPeer connect(const std::string& path) {
    const sockaddr_un address = MUST(unix_address(path));
    Fd socket = MUST(own_fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)));
    CHECK(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) ==
          0);
    return RawPeer(std::move(socket));
  }

  /// Two ends: one for this class, one for what is tested.
  static std::pair<RawPeer, Fd> pair() {
    std::array<int, 2> ends{};
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
    return {RawPeer(Fd(ends[0])), Fd(ends[1])};
  }

  /// One sendmsg, with `fds` on it. False if the peer is gone or takes nothing for 10 s.
  bool send(const Bytes& bytes, const std::vector<Fd>& fds = {}) {
    std::vector<int> raw;
    raw.reserve(fds.size());
    for (const Fd& fd : fds)
      raw.push_back(fd.get());
    std::vector<char> control(CMSG_SPACE(raw.size() * sizeof(int)));
    iovec vector = {.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
    msghdr message = {};
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    if (!raw.empty()) {
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      cmsghdr* const c = CMSG_FIRSTHDR(&message);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(raw.size() * sizeof(int));
      std::memcpy(CMSG_DATA(c), raw.data(), raw.size() * sizeof(int));
    }
    return sendmsg(socket_.get(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
  }

  /// The next message; nothing at the end of the stream, or after 10 s without one.
  std::optional<Message> receive() {
    MessageReader reader({.max_message_size = 1U << 24U, .max_fds = 16});
    while (!reader.complete()) {
      if (!readable(10000)) return std::nullopt;
      const auto progress = receive_some(socket_.get(), reader);
      if (!progress || *progress == Progress::kWouldBlock) return std::nullopt;
    }
    return reader.take();
  }

  /// The next message, where there has to be one.
  Message expect() {
    auto message = receive();
    CHECK(message.has_value());
    return std::move(message).value_or(Message{});
  }

  /// Whether something is there to read, be it the end, within `timeout_ms`.
  bool readable(int timeout_ms) const {
    pollfd state = {.fd = socket_.get(), .events = POLLIN, .revents = 0};
    return poll(&state, 1, timeout_ms) == 1;
  }

  /// Waits for the peer to close. False if it sends something instead, or after 10 s.
  bool closed_by_peer() const {
    if (!readable(10000)) return false;
    char byte = 0;
    const ssize_t received = recv(socket_.get(), &byte, 1, MSG_DONTWAIT);
    return received == 0 || (received < 0 && errno == ECONNRESET);
  }

  void close() { socket_.reset(); }
  void shutdown_writing() { ::shutdown(socket_.get(), SHUT_WR); }
  [[nodiscard]] int fd() const { return socket_.get(); }

 private:
  Fd socket_;
};

}  // namespace airlock::vfio_user
