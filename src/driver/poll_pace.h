// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>

namespace airlock::driver {

/// When to look again for what no interrupt announces. A wait begins with look after look, and goes
/// on with pauses that grow with the time waited: what takes long is seen a quarter of that later
/// at most, after few looks. Where waits have been too long for that beginning to pay, they begin
/// with a pause of a quarter of the usual instead. Decides only: who uses it pauses. One thread at
/// a time.
class PollPace {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::microseconds kShortest{50};
  static constexpr std::chrono::microseconds kLongest{4000};

  /// Looks without a pause for `spin` at most.
  explicit PollPace(std::chrono::microseconds spin) : spin_(spin) {}

  /// A wait begins.
  void start(Clock::time_point now) { since_ = now; }

  /// What was waited for has come; a wait for the next begins.
  void came(Clock::time_point now) {
    const auto waited = std::max(now - since_, Clock::duration::zero());
    usual_ += (waited - usual_) / 8;
    since_ = now;
  }

  /// How long to pause before the next look; zero: give way to other threads, and look.
  [[nodiscard]] std::chrono::microseconds pause(Clock::time_point now) const {
    const auto waited = std::max(now - since_, Clock::duration::zero());
    Clock::duration time = waited / 4;
    if (usual_ > 2 * spin_) {
      time = std::max(time, usual_ / 4 - waited);
    } else if (waited < spin_) {
      return std::chrono::microseconds(0);
    }
    return std::clamp(std::chrono::duration_cast<std::chrono::microseconds>(time), kShortest,
                      kLongest);
  }

 private:
  std::chrono::microseconds spin_;
  Clock::time_point since_;
  Clock::duration usual_{};  // how long waits have been, on average
};

}  // namespace airlock::driver
