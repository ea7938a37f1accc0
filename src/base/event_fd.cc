// SPDX-License-Identifier: Apache-2.0
#include "base/event_fd.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdint>

namespace airlock {

Result<EventFd> EventFd::create() {
  return EventFd(TRY(own_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))), false);
}

Result<EventFd> EventFd::create_shared() {
  return EventFd(TRY(own_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))), true);
}

Result<EventFd> EventFd::adopt(Fd fd) {
  const int flags = fcntl(fd.get(), F_GETFL);
  if (flags < 0 || fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK) < 0) return fail(system_error());
  return EventFd(std::move(fd), true);
}

void EventFd::signal() const {
  pollfd room{.fd = fd_.get(), .events = POLLOUT, .revents = 0};
  if (shared_ && poll(&room, 1, 0) != 1) return;
  const std::uint64_t one = 1;
  // EAGAIN: the counter is full, so the waiter is awake. Nothing else can be done about it either.
  [[maybe_unused]] const ssize_t written = write(fd_.get(), &one, sizeof one);
}

bool EventFd::drain() const {
  std::uint64_t count = 0;
  const iovec target{.iov_base = &count, .iov_len = sizeof count};
  const ssize_t got = preadv2(fd_.get(), &target, 1, -1, RWF_NOWAIT);
  return got == sizeof count && count != 0;
}

}  // namespace airlock
