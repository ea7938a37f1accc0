// SPDX-License-Identifier: Apache-2.0
#include "wire/listener.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>

#include "wire/socket.h"

namespace airlock::vfio_user {

namespace {

Result<Fd> unix_socket(int type) {
  return own_fd(socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

// Makes way at `address`, where there is something: removes a socket file that nobody listens on.
Result<void> remove_stale(const sockaddr_un& address, int type) {
  struct stat status = {};
  if (lstat(address.sun_path, &status) != 0) {
    if (errno == ENOENT) return {};
    return fail(system_error());
  }
  if (!S_ISSOCK(status.st_mode)) return fail(system_error(ENOTSOCK));
  const Fd probe = TRY(unix_socket(type));
  // Only "refused" proves that nobody is there: a full backlog or a missing permission does not.
  if (connect(probe.get(), as_sockaddr(address), sizeof address) == 0 || errno != ECONNREFUSED) {
    return fail(system_error(EADDRINUSE));
  }
  if (unlink(address.sun_path) != 0 && errno != ENOENT) return fail(system_error());
  return {};
}

}  // namespace

void SocketFile::remove() const {
  if (path.empty()) return;
  struct stat status = {};
  if (lstat(path.c_str(), &status) != 0) return;
  if (status.st_dev == device && status.st_ino == inode) unlink(path.c_str());
}

Result<Listener> Listener::create(const std::string& path, const Options& options) {
  const sockaddr_un address = TRY(unix_address(path));
  Listener listener;
  listener.fd_ = TRY(unix_socket(options.type));
  const int fd = listener.fd_.get();
  if (bind(fd, as_sockaddr(address), sizeof address) != 0) {
    if (errno != EADDRINUSE) return fail(system_error());
    TRY(remove_stale(address, options.type));
    if (bind(fd, as_sockaddr(address), sizeof address) != 0) return fail(system_error());
  }
  struct stat status = {};
  if (lstat(path.c_str(), &status) != 0) return fail(system_error());
  listener.file_ = {.path = path, .device = status.st_dev, .inode = status.st_ino};
  if (listen(fd, options.backlog) != 0) return fail(system_error());
  return listener;
}

Result<Listener> Listener::adopt(Fd socket) {
  const int flags = fcntl(socket.get(), F_GETFL);
  if (flags < 0 || fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK) < 0 ||
      fcntl(socket.get(), F_SETFD, FD_CLOEXEC) < 0) {
    return fail(system_error());
  }
  Listener listener;
  listener.fd_ = std::move(socket);
  return listener;
}

Listener::Listener(Listener&& other) noexcept
    : fd_(std::move(other.fd_)), file_(std::exchange(other.file_, {})) {}

Listener& Listener::operator=(Listener&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(file_, other.file_);
  return *this;
}

Fd Listener::release() {
  file_ = {};
  return std::move(fd_);
}

Result<Fd> Listener::accept() const {
  int fd = -1;
  do {
    fd = accept4(fd_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    // A client that left before it was taken is no error of ours: there may be a next one.
  } while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
  if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return Fd();
  return own_fd(fd);
}

}  // namespace airlock::vfio_user
