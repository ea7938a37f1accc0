// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>

namespace airlock::device {

/// How long a worker may poll an empty queue before it sleeps. Work that comes soon after falling
/// asleep lets it grow, polling in vain halves it: a busy queue is polled, a quiet one costs
/// nothing.
class PollBudget {
 public:
  using Duration = std::chrono::nanoseconds;

  explicit PollBudget(Duration longest) : longest_(longest), now_(longest) {}

  [[nodiscard]] Duration current() const { return now_; }

  /// The budget ran out and nothing came.
  void polled_in_vain() { now_ = now_ < kShortest ? Duration::zero() : now_ / 2; }
  /// It slept for `slept` and was woken by work.
  void woken_after(Duration slept) {
    if (slept > longest_) return;  // polling would not have caught it
    now_ = std::min(longest_, std::max(kShortest, now_ * 2));
  }

 private:
  static constexpr Duration kShortest = std::chrono::microseconds(2);

  Duration longest_;
  Duration now_;
};

}  // namespace airlock::device
