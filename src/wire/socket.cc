// SPDX-License-Identifier: Apache-2.0
#include "wire/socket.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace airlock::vfio_user {

namespace {

// Room for the fds of one message. One more than the limit, so that a message with too many shows.
constexpr std::size_t kReceiveFds = kMaxMessageFds + 1;

// True where the peer is gone: its end is closed, with or without something of ours unread.
bool closed_by_peer(int error) {
  return error == EPIPE || error == ECONNRESET;
}

// Takes ownership of every fd in the control messages.
std::vector<Fd> take_fds(msghdr& message) {
  std::vector<Fd> fds;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return fds;
}

}  // namespace

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty()) return fail(system_error(ENOENT));
  if (path.size() >= sizeof address.sun_path || path.find('\0') != std::string::npos) {
    return fail(system_error(ENAMETOOLONG));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

const sockaddr* as_sockaddr(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

Result<Received> receive_bytes(int socket, std::span<std::byte> target) {
  alignas(cmsghdr) std::byte control[CMSG_SPACE(kReceiveFds * sizeof(int))];
  iovec vector = {.iov_base = target.data(), .iov_len = target.size()};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t received = -1;
  do {
    received = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) return Received{};
    if (closed_by_peer(errno)) return fail(Errc::kPeerClosed);
    return fail(system_error());
  }
  std::vector<Fd> fds = take_fds(message);
  if (received == 0) return fail(Errc::kPeerClosed);
  return Received{.bytes = static_cast<std::size_t>(received),
                  .fds = std::move(fds),
                  .fds_truncated = (message.msg_flags & MSG_CTRUNC) != 0};
}

Result<Progress> receive_some(int socket, MessageReader& reader) {
  Received received = TRY(receive_bytes(socket, reader.target()));
  if (received.bytes == 0) return Progress::kWouldBlock;
  TRY(reader.advance(received.bytes, std::move(received.fds), received.fds_truncated));
  return Progress::kDone;
}

Result<std::size_t> send_some(int socket, std::span<const std::byte> bytes,
                              std::span<const int> fds) {
  CHECK(fds.size() <= kMaxMessageFds);
  alignas(cmsghdr) std::byte control[CMSG_SPACE(kMaxMessageFds * sizeof(int))] = {};
  // sendmsg only reads the bytes, but shares iovec with recvmsg.
  iovec vector = {.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* const c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(c), fds.data(), fds.size_bytes());
  }
  ssize_t sent = -1;
  do {
    sent = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) return static_cast<std::size_t>(sent);
  if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
  if (closed_by_peer(errno)) return fail(Errc::kPeerClosed);
  return fail(system_error());
}

Result<void> SendQueue::push(Outgoing message) {
  CHECK(message.fds.size() <= kMaxMessageFds);
  const std::size_t size = message.bytes.size();
  const bool fits =
      messages_.size() < kMaxMessages && airlock_range_within(bytes_, size, kMaxBytes);
  if (!messages_.empty() && !fits) {
    return fail({.code = Errc::kTooLarge, .address = bytes_});
  }
  bytes_ += size;
  messages_.push_back(std::move(message));
  return {};
}

Result<Progress> SendQueue::flush(int socket) {
  while (!messages_.empty()) {
    const Outgoing& first = messages_.front();
    std::array<int, kMaxMessageFds> fds{};
    std::size_t fd_count = 0;
    if (sent_ == 0) {
      for (const Fd& fd : first.fds)
        fds.at(fd_count++) = fd.get();
    }
    const std::size_t count = TRY(
        send_some(socket, std::span(first.bytes).subspan(sent_), std::span(fds).first(fd_count)));
    if (count == 0) return Progress::kWouldBlock;
    sent_ += count;
    if (sent_ < first.bytes.size()) continue;
    bytes_ -= first.bytes.size();
    sent_ = 0;
    messages_.pop_front();
  }
  return Progress::kDone;
}

}  // namespace airlock::vfio_user
