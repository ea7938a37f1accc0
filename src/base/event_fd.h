// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/fd.h"

namespace airlock {

/// An eventfd: a counter that wakes who waits for it. Any thread may signal; one consumes.
class EventFd {
 public:
  /// Non-blocking, close-on-exec.
  static Result<EventFd> create();
  /// The same for one that a peer will be sent: as of adopt().
  static Result<EventFd> create_shared();
  /// Wraps an eventfd that a peer sent, and makes it non-blocking. The peer shares that flag and
  /// the counter: signal() looks whether there is room before it writes.
  static Result<EventFd> adopt(Fd fd);

  EventFd() = default;
  explicit operator bool() const { return static_cast<bool>(fd_); }
  [[nodiscard]] int fd() const { return fd_.get(); }
  /// For another process. Errors: kSystem.
  [[nodiscard]] Result<Fd> duplicate() const { return fd_.duplicate(); }

  /// Adds one. A counter at its maximum stays there: the waiter is awake already.
  void signal() const;
  /// Takes the counter back to zero; true if it was not. Never blocks, even where a peer to whom
  /// the fd was sent made it blocking.
  [[nodiscard]] bool drain() const;

 private:
  EventFd(Fd fd, bool shared) : fd_(std::move(fd)), shared_(shared) {}
  Fd fd_;
  bool shared_ = false;  // a peer may fill the counter and make a write wait
};

}  // namespace airlock
