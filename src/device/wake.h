// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>

#include "base/event_fd.h"

namespace airlock::device {

/// Wakes one waiter, who is told once however often it is signalled meanwhile: most signals to, and
/// looks by, somebody awake make no system call. Any thread signals; one takes.
///
/// What is signalled about is changed before signal() and looked at after take().
class Wake {
 public:
  /// Errors: kSystem.
  static Result<Wake> create() { return Wake(TRY(EventFd::create())); }

  void signal() {
    if (!pending_.exchange(true, std::memory_order_acq_rel)) event_.signal();
  }
  /// Forgets what was signalled so far; false if it was nothing.
  bool take() {
    if (!pending_.load(std::memory_order_acquire)) return false;
    // Until pending_ is false nobody signals the event again. Who made it true may not have come to
    // signal it: then it is still to be taken, or who waits for it would never sleep again.
    if (!event_.drain()) return true;
    // Pairs with signal(): what was changed before is seen after.
    pending_.exchange(false, std::memory_order_acq_rel);
    return true;
  }
  /// Readable while there is something to take.
  [[nodiscard]] int fd() const { return event_.fd(); }

  Wake(Wake&& other) noexcept : event_(std::move(other.event_)), pending_(other.pending_.load()) {}
  Wake& operator=(Wake&&) = delete;
  Wake(const Wake&) = delete;
  Wake& operator=(const Wake&) = delete;
  ~Wake() = default;

 private:
  explicit Wake(EventFd event) : event_(std::move(event)) {}
  EventFd event_;
  std::atomic<bool> pending_{false};
};

}  // namespace airlock::device
