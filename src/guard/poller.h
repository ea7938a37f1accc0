// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "base/fd.h"

namespace airlock::guard {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;

/// Waits for file descriptors and calls who asked. One thread. Level-triggered epoll.
class Poller {
 public:
  using Callback = std::function<void()>;

  /// One file descriptor that is watched; no longer, once this is gone. The fd stays open and the
  /// poller there as long as it.
  class Watch {
   public:
    Watch() = default;
    ~Watch();
    Watch(Watch&& other) noexcept;
    Watch& operator=(Watch&& other) noexcept;
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

    /// What to wait for: EPOLLIN, EPOLLOUT, both or 0. No system call if it is as before; nothing
    /// at all if no fd is watched.
    void wait_for(std::uint32_t events);

   private:
    friend class Poller;
    Watch(Poller& poller, std::uint64_t id, int fd, std::uint32_t events)
        : poller_(&poller), id_(id), fd_(fd), events_(events) {}
    Poller* poller_ = nullptr;
    std::uint64_t id_ = 0;
    int fd_ = -1;
    std::uint32_t events_ = 0;
  };

  /// Errors: kSystem.
  static Result<std::unique_ptr<Poller>> create();

  /// Calls `callback` from wait() whenever `fd` (borrowed) is ready for `events` or has ended. The
  /// callback may end any watch, its own too. Errors: kSystem.
  Result<Watch> watch(int fd, std::uint32_t events, Callback callback);

  /// Waits until something is ready, `until` has come or a signal was caught, and calls whom it
  /// concerns; whether there was anybody. Errors: kSystem.
  Result<bool> wait(std::optional<TimePoint> until);

 private:
  explicit Poller(Fd epoll) : epoll_(std::move(epoll)) {}

  Fd epoll_;
  std::uint64_t next_id_ = 0;
  std::map<std::uint64_t, std::shared_ptr<Callback>> callbacks_;
};

}  // namespace airlock::guard
