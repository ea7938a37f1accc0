// SPDX-License-Identifier: Apache-2.0
#include "backend/socket_port.h"

#include <sys/socket.h>

#include "backend/port_io.h"

namespace airlock::backend {

Result<std::unique_ptr<SocketPort>> SocketPort::listen(const std::string& path) {
  vfio_user::Listener listener = TRY(vfio_user::Listener::create(path));
  const vfio_user::SocketFile file = listener.file();
  return std::unique_ptr<SocketPort>(new SocketPort(listener.release(), file));
}

void SocketPort::add_watches(const PortInterest& interest, std::vector<pollfd>& target) const {
  if (!client_) {
    target.push_back({.fd = listening_.get(), .events = POLLIN, .revents = 0});
    return;
  }
  // One that hung up is readable for ever: he waits until there is room for what he said.
  if (mute_ && !interest.input) return;
  const int events = (interest.input ? POLLIN : 0) | (interest.output && !mute_ ? POLLOUT : 0);
  target.push_back({.fd = client_.get(), .events = static_cast<short>(events), .revents = 0});
}

void SocketPort::attend(const PortInterest& interest) {
  if (client_) {
    mute_ |= (state_of(client_.get(), 0) & (POLLHUP | POLLERR)) != 0;
    if (!mute_ || interest.guest) return;
    client_.reset();  // nobody will ever hear him
  }
  // Too many open files, or a client that has gone again: the next round tries once more.
  auto client = own_fd(::accept4(listening_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!client) return;
  client_ = std::move(*client);
  mute_ = false;
  ++connections_;
}

std::size_t SocketPort::read(std::span<std::byte> target) {
  if (!client_) return 0;
  const PortTransfer done = read_now(client_.get(), target);
  if (done.ended) client_.reset();
  return done.bytes;
}

std::size_t SocketPort::write(std::span<const std::byte> source) {
  if (!client_ || mute_) return source.size();
  const PortTransfer done = write_now(client_.get(), source);
  // What he said before is still there to be read: that ends him.
  mute_ |= done.ended;
  return done.bytes;
}

}  // namespace airlock::backend
