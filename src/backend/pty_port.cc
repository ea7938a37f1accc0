// SPDX-License-Identifier: Apache-2.0
#include "backend/pty_port.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "backend/port_io.h"

namespace airlock::backend {

namespace {

/// Opened once and closed again, it also tells our side that nobody is there.
Result<void> make_raw(const std::string& path) {
  const Fd other = TRY(own_fd(::open(path.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC)));
  termios mode{};
  if (::tcgetattr(other.get(), &mode) != 0) return fail(system_error());
  ::cfmakeraw(&mode);
  if (::tcsetattr(other.get(), TCSANOW, &mode) != 0) return fail(system_error());
  return {};
}

Result<vfio_user::SocketFile> make_link(const std::string& path, const std::string& link) {
  struct stat status = {};
  if (::lstat(link.c_str(), &status) == 0) {
    if (!S_ISLNK(status.st_mode)) return fail(system_error(EEXIST));
    if (::unlink(link.c_str()) != 0) return fail(system_error());
  }
  if (::symlink(path.c_str(), link.c_str()) != 0) return fail(system_error());
  if (::lstat(link.c_str(), &status) != 0) return fail(system_error());
  return vfio_user::SocketFile{.path = link, .device = status.st_dev, .inode = status.st_ino};
}

}  // namespace

Result<std::unique_ptr<PtyPort>> PtyPort::create(const std::string& link) {
  Fd terminal = TRY(own_fd(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK)));
  std::array<char, 64> name{};
  if (::grantpt(terminal.get()) != 0 || ::unlockpt(terminal.get()) != 0) {
    return fail(system_error());
  }
  if (const int error = ::ptsname_r(terminal.get(), name.data(), name.size()); error != 0) {
    return fail(system_error(error));
  }
  const std::string path = name.data();
  TRY(make_raw(path));
  Fd visits = TRY(own_fd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)));
  if (::inotify_add_watch(visits.get(), path.c_str(), IN_OPEN | IN_CLOSE) < 0) {
    return fail(system_error());
  }
  std::unique_ptr<PtyPort> port(new PtyPort(std::move(terminal), std::move(visits), path));
  if (!link.empty()) port->link_ = TRY(make_link(path, link));
  return port;
}

void PtyPort::add_watches(const PortInterest& interest, std::vector<pollfd>& target) const {
  target.push_back({.fd = visits_.get(), .events = POLLIN, .revents = 0});
  // Without anybody there it is always ready, to say so.
  if (!connected_ || (gone_ && !interest.input)) return;
  const int events = (interest.input ? POLLIN : 0) | (interest.output ? POLLOUT : 0);
  target.push_back({.fd = terminal_.get(), .events = static_cast<short>(events), .revents = 0});
}

void PtyPort::attend(const PortInterest& interest) {
  // Which and how many there were says nothing that the terminal doesn't say better.
  std::array<std::byte, 4096> events;
  while (read_now(visits_.get(), events).bytes > 0) {
  }
  const int state = state_of(terminal_.get(), POLLIN);
  gone_ = (state & POLLHUP) != 0;
  // One who has gone is heard to the end, if the guest listens.
  const bool here = !gone_ || ((state & POLLIN) != 0 && interest.guest);
  if (!std::exchange(connected_, here) && here) ++connections_;
  size_ = gone_ ? std::nullopt : terminal_size(terminal_.get());
}

std::size_t PtyPort::read(std::span<std::byte> target) {
  if (!connected_) return 0;
  const PortTransfer done = read_now(terminal_.get(), target);
  connected_ = !done.ended;
  return done.bytes;
}

std::size_t PtyPort::write(std::span<const std::byte> source) {
  if (!connected_ || gone_) return source.size();
  return write_now(terminal_.get(), source).bytes;
}

}  // namespace airlock::backend
