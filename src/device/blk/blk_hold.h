// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/event_fd.h"

namespace airlock::device {

/// What becomes of a request that the backend failed.
enum class OnError : std::uint8_t {
  kReport,  // the driver gets an I/O error
  kStop,    // it is held, and the queue begins nothing new, until somebody has it tried again
  kRetry,   // it is held, and tried again, ever more rarely, until it succeeds
  kEnospc,  // as kStop where the disk is full, as kReport where not
};

/// The requests of one queue that wait to be tried again, and what they wait by. For the queue's
/// thread; the bell may be signalled by any.
class BlkHold {
 public:
  /// Before the first new attempt, and between attempts at most.
  static constexpr std::chrono::milliseconds kDelayFirst{100};
  static constexpr std::chrono::milliseconds kDelayMost{10'000};

  struct Held {
    std::uint32_t request = 0;  // the queue's name for it
    int error = 0;              // errno
  };

  /// `policy` is not kReport. `bell`: has all of them tried at once; outlives this.
  /// `completion_fd`: of the queue's channel, or -1. Errors: kSystem.
  static Result<std::unique_ptr<BlkHold>> create(OnError policy, const EventFd& bell,
                                                 int completion_fd);

  /// Whether a request that failed so is to be held.
  [[nodiscard]] bool wants(int error) const;
  /// `attempts`: of this request, in vain, so far. The time until it is tried again; nothing if it
  /// waits for the bell.
  std::optional<std::chrono::milliseconds> add(const Held& held, unsigned attempts);
  /// Nothing new is to be begun.
  [[nodiscard]] bool stopped() const { return policy_ != OnError::kRetry && !held_.empty(); }
  [[nodiscard]] bool empty() const { return held_.empty(); }

  /// Those that are to be tried again now; empty before it is time.
  std::vector<Held> take_due();
  /// All of them.
  std::vector<Held> take_all();

  /// Readable when the channel has finished something, or when take_due() may return something.
  [[nodiscard]] int fd() const { return events_.get(); }

 private:
  BlkHold(OnError policy, const EventFd& bell, Fd events, Fd timer);
  void hear_bell(bool on) const;
  void set_timer(std::chrono::milliseconds delay) const;

  OnError policy_;
  const EventFd* bell_;
  Fd events_;  // an epoll, of which the bell is a part while anything is held
  Fd timer_;
  std::optional<std::chrono::steady_clock::time_point> due_;  // what the timer is set to
  std::vector<Held> held_;
};

}  // namespace airlock::device
