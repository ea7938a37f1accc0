// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>

namespace airlock::device {

/// How many answers an interrupt tells of. A driver that goes on submitting while it has answers
/// that it did not look at yet is not waiting for them: an interrupt for each would only take its
/// time, and in a VM that of the VMM. So an interrupt is held back until there are several answers,
/// or until nothing more comes.
///
/// That a driver goes on can't be seen as long as it is interrupted for each answer, so it is
/// tried: one answer more with each interrupt as long as that works; half as many after it was held
/// back twice running in vain, and then for a while no more than that. A driver that always waits
/// for its only request is tried twice in 2048 interrupts: of its latencies not one in a thousand
/// shows it.
///
/// How long it is held back: for what the next answer lately took to come, three times over.
/// Answers that the driver looks at unasked (it polls) are none of all this. Decides only; one
/// thread at a time.
class InterruptModeration {
 public:
  using Clock = std::chrono::steady_clock;
  using Duration = std::chrono::nanoseconds;

  /// Answers an interrupt, at most: half of what a deep queue has in flight, so that the driver
  /// goes on with the rest while the interrupt is on its way.
  static constexpr unsigned kMost = 16;
  /// The least and the most that an interrupt waits for the next answer.
  static constexpr Duration kShortest = std::chrono::microseconds(16);
  static constexpr Duration kLongest = std::chrono::microseconds(400);

  /// An interrupt is owed to the driver, and held back.
  [[nodiscard]] bool holds() const { return held_ > 0; }

  /// `count` more answers, at least one, were shown to a driver who wants an interrupt for them, or
  /// is owed one. True: it is to be given now.
  [[nodiscard]] bool shown(unsigned count, Clock::time_point now) {
    gap_ += (std::min<Duration>(now - last_, kLongest / kGaps) - gap_) / 8;
    last_ = now;
    held_ += count;
    if (held_ < most_) return false;
    held_ = 0;
    in_vain_ = 0;
    try_more();
    return true;
  }

  /// There was no further answer for `idle`. True: an interrupt is owed, and is to be given now.
  [[nodiscard]] bool idle(Duration idle) {
    if (!holds() || idle < std::clamp(kGaps * gap_, kShortest, kLongest)) return false;
    held_ = 0;
    if (++in_vain_ == kInVainMost) make_do_with_less();
    return true;
  }

 private:
  static constexpr int kGaps = 3;
  /// A driver with a deep queue pauses too, when it has answers to look at: seldom twice running.
  static constexpr unsigned kInVainMost = 2;
  static constexpr unsigned kPauseLeast = 32;
  static constexpr unsigned kPauseMost = 2048;

  void try_more() {
    if (most_ == kMost) {
      next_pause_ = kPauseLeast;
    } else if (pause_ > 0) {
      --pause_;
    } else {
      ++most_;
    }
  }

  void make_do_with_less() {
    in_vain_ = 0;
    most_ /= 2;  // of two at least: one is never held back
    pause_ = next_pause_;
    next_pause_ = std::min(next_pause_ * 2, kPauseMost);
  }

  unsigned most_ = 1;     // answers an interrupt
  unsigned held_ = 0;     // answers since an interrupt is owed
  unsigned in_vain_ = 0;  // interrupts held back in vain since one was not
  unsigned pause_ = 0;    // interrupts until one more answer is tried
  unsigned next_pause_ = kPauseLeast;
  Duration gap_{};  // between two answers, lately
  Clock::time_point last_;
};

}  // namespace airlock::device
