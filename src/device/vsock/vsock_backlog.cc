// SPDX-License-Identifier: Apache-2.0
#include "device/vsock/vsock_backlog.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "base/check.h"

namespace airlock::device {

std::span<std::byte> VsockBacklog::grow(std::uint32_t bytes) {
  // Before it would grow.
  if (bytes > bytes_.capacity() - bytes_.size()) {
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(first_));
    first_ = 0;
  }
  const std::size_t before = bytes_.size();
  bytes_.resize(before + bytes);
  unfinished_ += bytes;
  return std::span(bytes_).subspan(before);
}

void VsockBacklog::end_message() {
  if (unfinished_ > 0) messages_.push_back(std::exchange(unfinished_, 0));
}

void VsockBacklog::clear() {
  bytes_ = {};
  first_ = 0;
  messages_ = {};
  unfinished_ = 0;
}

void VsockBacklog::drop(std::uint32_t bytes) {
  CHECK(bytes <= size());
  first_ += bytes;
  // Most connections never have one again: no memory for what might be.
  if (empty()) {
    bytes_ = {};
    first_ = 0;
  }
}

Result<std::uint32_t> VsockBacklog::flush_stream(int socket) {
  if (empty()) return 0U;
  iovec rest{.iov_base = bytes_.data() + first_, .iov_len = size()};
  const std::uint32_t sent = TRY(send_once(socket, std::span(&rest, 1)));
  drop(sent);
  unfinished_ = size();
  return sent;
}

Result<std::uint32_t> VsockBacklog::flush_messages(int socket) {
  std::uint32_t sum = 0;
  while (!messages_.empty()) {
    const std::uint32_t length = messages_.front();
    iovec message{.iov_base = bytes_.data() + first_, .iov_len = length};
    const std::uint32_t sent = TRY(send_once(socket, std::span(&message, 1)));
    if (sent == 0) break;
    messages_.pop_front();
    drop(length);
    sum += length;
  }
  return sum;
}

Result<std::uint32_t> send_once(int socket, std::span<iovec> vectors) {
  msghdr message = {};
  message.msg_iov = vectors.data();
  message.msg_iovlen = vectors.size();
  ssize_t sent = -1;
  do {
    sent = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) return static_cast<std::uint32_t>(sent);
  if (errno == EAGAIN || errno == EWOULDBLOCK) return 0U;
  return fail(system_error());
}

}  // namespace airlock::device
