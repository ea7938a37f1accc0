// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <utility>

namespace airlock::device {

/// How many answers an interrupt tells of. A driver that goes on submitting while it has answers
/// that it did not look at yet is not waiting for them: an interrupt for each would only take its
/// time, and in a VM that of the VMM. So an interrupt is held back until there are several answers,
/// or until nothing more comes.
///
/// Whether that helps only the driver's pace tells: one that submits by the clock, or waits for one
/// answer while others come, goes on as well, and gains nothing but delay. So it is tried: for some
/// answers an interrupt is for four times as many, or a quarter, and the faster way is kept; of two
/// that are alike the one that holds back less. What does not help is tried ever more seldom, until
/// the driver's pace changes.
///
/// An interrupt is held back for three times what the next answer lately took to come, and for
/// kLongest in all. If that was twice running in vain it was too much. Decides only; one thread at
/// a time.
class InterruptModeration {
 public:
  using Clock = std::chrono::steady_clock;
  using Duration = std::chrono::nanoseconds;

  /// Answers an interrupt, at most.
  static constexpr unsigned kMost = 16;
  /// The least and the most that an interrupt waits for the next answer, and the most in all.
  static constexpr Duration kLeastGap = std::chrono::microseconds(16);
  static constexpr Duration kMostGap = std::chrono::microseconds(400);
  static constexpr Duration kLongest = std::chrono::milliseconds(1);

  /// An interrupt is owed to the driver, and held back.
  [[nodiscard]] bool holds() const { return held_ > 0; }

  /// `count` more answers were shown to the driver, whether he wants an interrupt or not.
  void answered(unsigned count) { trial_.answers += count; }

  /// Of which `count`, at least one, he wants an interrupt for, or is owed one already. True: it is
  /// to be given now.
  [[nodiscard]] bool shown(unsigned count, Clock::time_point now) {
    const Duration since = std::min<Duration>(now - last_, kLongest);
    gap_ += (std::min(since, kMostGap / kGaps) - gap_) / 8;
    last_ = now;
    trial_.time += since;
    if (trial_.answers >= kTrialAnswers) judge();
    if (!holds()) owed_since_ = now;
    held_ += count;
    if (held_ < most_ && now - owed_since_ < kLongest) return false;
    held_ = 0;
    in_vain_ = 0;
    return true;
  }

  /// There was no further answer for `idle`. True: an interrupt is owed, and is to be given now.
  [[nodiscard]] bool idle(Duration idle) {
    if (!holds() || idle < std::clamp(kGaps * gap_, kLeastGap, kMostGap)) return false;
    held_ = 0;
    if (++in_vain_ == kInVainMost) {
      in_vain_ = 0;
      next_pauses_ = std::min(next_pauses_, kPausesFew);
      settle(most_ / kStep, false);  // during a trial of more: what it was before
    }
    return true;
  }

  /// What is owed is given for another reason.
  [[nodiscard]] bool give() { return std::exchange(held_, 0) > 0; }

 private:
  static constexpr int kGaps = 3;
  /// A driver with a deep queue pauses too, when it has answers to look at: seldom twice running.
  static constexpr unsigned kInVainMost = 2;
  static constexpr unsigned kTrialAnswers = 128;
  /// In trials: after one that was slower, and one that ended early, for two answers' sake.
  static constexpr unsigned kPausesMost = 255;
  static constexpr unsigned kPausesFew = 31;
  /// Between levels that are tried: large enough to be told from noise.
  static constexpr unsigned kStep = 4;
  /// Of a pace, in percent: what is noise.
  static constexpr int kAlike = 5;

  struct Trial {
    bool goes_on = false;  // with another number of answers than before; else nothing is tried
    unsigned answers = 0;
    Duration time{};
  };
  struct Before {
    unsigned most = 1;
    Duration pace{};  // time an answer
  };

  /// So many answers have come: what follows of how long they took.
  void judge() {
    const Duration pace = trial_.time / trial_.answers;
    if (trial_.goes_on) {
      const bool more = most_ > before_.most;
      const Duration limit = before_.pace * (more ? 100 - kAlike : 100 + kAlike) / 100;
      settle(pace < limit ? most_ : before_.most, pace < limit);
      return;
    }
    if (pace > before_.pace * 3 / 2 || pace < before_.pace * 2 / 3) next_pauses_ = pauses_ = 0;
    before_ = {.most = most_, .pace = pace};
    trial_ = {};
    if (pauses_ > 0) {
      --pauses_;
      return;
    }
    upwards_ = most_ == 1 || (most_ < kMost && !upwards_);
    most_ = upwards_ ? most_ * kStep : most_ / kStep;
    trial_.goes_on = true;
  }

  /// Ends a trial, whose result is `most` answers an interrupt.
  void settle(unsigned most, bool found_better) {
    most_ = std::max(1U, most);
    trial_ = {};
    pauses_ = found_better ? 0 : next_pauses_;
    next_pauses_ = found_better ? 0 : std::min((next_pauses_ * 2) + 1, kPausesMost);
  }

  unsigned most_ = 1;     // answers an interrupt
  unsigned held_ = 0;     // answers since an interrupt is owed
  unsigned in_vain_ = 0;  // interrupts held back in vain since one was not
  Trial trial_;
  Before before_;
  bool upwards_ = false;      // the last trial
  unsigned pauses_ = 0;       // trials to leave out
  unsigned next_pauses_ = 0;  // if the next one is of no use
  Duration gap_{};            // between two answers, lately
  Clock::time_point last_;
  Clock::time_point owed_since_;
};

}  // namespace airlock::device
