// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>

#include "base/fd.h"

namespace airlock::device {

/// How many bytes may still be given out: so many in each period, which begins with the first of
/// them. One thread at a time; it outlives queues, so that a driver gets no more by resetting one.
class RngAllowance {
 public:
  using Clock = std::chrono::steady_clock;
  struct Limit {
    std::uint64_t max_bytes = 0;  // 0: no limit
    std::chrono::milliseconds period{1000};
  };

  /// Errors: kSystem.
  static Result<RngAllowance> create(const Limit& limit);

  /// Bytes that may be given out now.
  [[nodiscard]] std::uint64_t left(Clock::time_point now);
  /// So many of them were: at most left(), of the same `now`.
  void spend(std::uint64_t bytes, Clock::time_point now);
  /// Readable once a new period may begin; -1 where there is no limit.
  [[nodiscard]] int fd() const { return timer_.get(); }
  [[nodiscard]] bool is_limited() const { return limit_.max_bytes != 0; }

 private:
  RngAllowance(const Limit& limit, Fd timer) : limit_(limit), timer_(std::move(timer)) {}
  void set_timer(Clock::time_point when) const;

  Limit limit_;
  Fd timer_;
  bool running_ = false;     // a period
  Clock::time_point end_;    // of that
  std::uint64_t spent_ = 0;  // in that
};

}  // namespace airlock::device
