// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>

#include "base/check.h"

namespace airlock {

/// A share of one core to spend. It comes in steadily, and what is not spent is saved up: as much
/// as comes in during kWindow. So of any stretch T of time, at most share * (T + kWindow) is spent.
/// Counts only, by the caller's clock; one thread at a time.
class CpuAllowance {
 public:
  using Clock = std::chrono::steady_clock;
  using Duration = std::chrono::nanoseconds;
  static constexpr Duration kWindow = std::chrono::milliseconds(100);

  /// `percent` of a core, 0 to 100; 100 is no limit. Where that is not nothing, `least` can be
  /// saved up however long it takes: what is spent in one piece. Begins with all that it saves.
  CpuAllowance(unsigned percent, Duration least)
      : percent_(percent),
        most_(percent == 0 ? Duration::zero() : std::max(kWindow * percent / 100, least)),
        left_(most_) {
    CHECK(percent <= 100);
  }

  [[nodiscard]] bool limited() const { return percent_ < 100; }

  /// What may be spent at `now`.
  [[nodiscard]] Duration left(Clock::time_point now) {
    // More than this fills it, whatever it had: and a long rest must not overflow.
    const Duration rest = std::clamp<Duration>(now - since_, Duration::zero(), kRestMost);
    left_ = rest == kRestMost ? most_ : std::min(most_, left_ + rest * percent_ / 100);
    since_ = now;
    return left_;
  }

  /// Spent in one go, it may be more than there was: that is made up for first.
  void spend(Duration time) { left_ -= time; }

 private:
  static constexpr Duration kRestMost = std::chrono::hours(24);

  unsigned percent_;
  Duration most_;
  Duration left_;
  Clock::time_point since_;
};

}  // namespace airlock
