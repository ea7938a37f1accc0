// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>

namespace airlock::device {

/// How long a worker may poll an empty queue before it sleeps: a busy queue is polled, a quiet one
/// costs nothing.
///
/// What counts is how long the queue was idle, polling and sleep together. The sleep alone would
/// mislead: being woken takes longer than many a budget, and a budget that had once shrunk would
/// never see a short sleep again. So work that came soon enough makes it whole at once, and a queue
/// that is idle for longer has it halved at each sleep.
class PollBudget {
 public:
  using Duration = std::chrono::nanoseconds;

  explicit PollBudget(Duration longest) : longest_(longest), now_(longest) {}

  [[nodiscard]] Duration current() const { return now_; }

  /// Work came while the queue was polled.
  void caught() { in_vain_ = 0; }
  /// The budget ran out; work came `idle` after the last.
  void missed(Duration idle) {
    ++in_vain_;
    // Work that comes always just too late is not worth the whole budget each time: now and then
    // it is tried again.
    const bool try_it = in_vain_ < kInVainMost || in_vain_ % kInVainMost == 0;
    if (idle <= kNear * longest_ && try_it) {
      now_ = longest_;
    } else {
      now_ = now_ < 2 * kShortest ? Duration::zero() : now_ / 2;
    }
  }

 private:
  static constexpr Duration kShortest = std::chrono::microseconds(2);
  /// A wake-up or two: an idle time that had been shorter, had the worker not slept.
  static constexpr int kNear = 4;
  static constexpr std::uint32_t kInVainMost = 16;

  Duration longest_;
  Duration now_;
  std::uint32_t in_vain_ = 0;  // budgets that ran out since one did not
};

}  // namespace airlock::device
