// SPDX-License-Identifier: Apache-2.0
#include "backend/net/writable_wake.h"

#include <sys/epoll.h>

namespace airlock::backend {

Result<WritableWake> WritableWake::create() {
  return WritableWake(TRY(own_fd(epoll_create1(EPOLL_CLOEXEC))));
}

void WritableWake::arm(int fd) {
  if (armed_ == fd) return;
  disarm();
  epoll_event event{.events = EPOLLOUT, .data = {.fd = fd}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) armed_ = fd;
}

void WritableWake::disarm() {
  if (armed_ < 0) return;
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, armed_, nullptr);
  armed_ = -1;
}

}  // namespace airlock::backend
