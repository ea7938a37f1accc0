// SPDX-License-Identifier: Apache-2.0
#include "backend/port_io.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

namespace airlock::backend {

namespace {

bool try_later(int error) {
  return error == EAGAIN || error == EINTR;
}

}  // namespace

PortTransfer read_now(int fd, std::span<std::byte> target) {
  if (target.empty()) return {};
  const ssize_t count = ::read(fd, target.data(), target.size());
  if (count > 0) return {.bytes = static_cast<std::size_t>(count)};
  return {.ended = count == 0 || !try_later(errno)};
}

PortTransfer write_now(int fd, std::span<const std::byte> source) {
  if (source.empty()) return {};
  const ssize_t count = ::write(fd, source.data(), source.size());
  if (count >= 0) return {.bytes = static_cast<std::size_t>(count)};
  return {.ended = !try_later(errno)};
}

short state_of(int fd, short events) {
  pollfd one{.fd = fd, .events = events, .revents = 0};
  return ::poll(&one, 1, 0) > 0 ? one.revents : short{0};
}

Result<bool> set_nonblocking(int fd, bool nonblocking) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return fail(system_error());
  const bool before = (flags & O_NONBLOCK) != 0;
  const int wanted = nonblocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  if (before != nonblocking && ::fcntl(fd, F_SETFL, wanted) < 0) return fail(system_error());
  return before;
}

std::optional<WindowSize> terminal_size(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0) return std::nullopt;
  if (size.ws_col == 0 || size.ws_row == 0) return std::nullopt;
  return WindowSize{.cols = size.ws_col, .rows = size.ws_row};
}

}  // namespace airlock::backend
