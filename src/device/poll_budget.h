// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "base/cpu_allowance.h"

namespace airlock::device {

/// How long a worker may poll an empty queue before it sleeps: a busy queue is polled, a quiet one
/// costs nothing. Between polling and sleep it may nap: look every now and then, without asking for
/// the notification that a VMM delivers at the price of many such looks. A driver whose
/// notifications come by eventfd, straight from it or its kernel, wakes the worker sooner than a
/// nap ends, for little: there is no napping then.
///
/// What counts is how long the queue was idle, polling and sleep together. The sleep alone would
/// mislead: being woken takes longer than many a budget, and a budget that had once shrunk would
/// never see a short sleep again. So work that came soon enough makes it whole at once, and a queue
/// that is idle for longer has it halved at each sleep. So it is with the time for naps.
///
/// A driver that always comes back just in time would have the worker poll all day long. So there
/// is a second limit: a share of a core, of which all polling that finds nothing is paid, whether
/// work came in the end or not, and each nap: but for the few looks before the worker asks here,
/// less than a microsecond. A queue that can't pay for a budget sleeps at once. Decides only; one
/// thread at a time.
class PollBudget {
 public:
  using Clock = CpuAllowance::Clock;
  using Duration = CpuAllowance::Duration;
  struct Limits {
    Duration longest{};          // at a time; 0: neither polls nor naps
    Duration naps_longest{};     // polling and naps together, at a time
    unsigned cpu_percent = 100;  // of a core, in any longer stretch: see CpuAllowance
  };

  /// How a notification came: by the VMM, or by the driver's own signal.
  enum class Notice : std::uint8_t { kMessage, kDoorbell };

  /// The shortest first nap, and the shortest from look to look after it. Shorter ones find little
  /// more, and cost more than they spare.
  static constexpr Duration kFirstNap = std::chrono::microseconds(40);
  static constexpr Duration kLook = std::chrono::microseconds(16);
  static constexpr Duration kLongestNap = std::chrono::milliseconds(1);

  explicit PollBudget(const Limits& limits)
      : longest_(limits.longest),
        now_(longest_),
        naps_longest_(limits.naps_longest),
        naps_now_(naps_longest_),
        ever_polls_(longest_ > Duration::zero() && limits.cpu_percent > 0),
        allowance_(limits.cpu_percent, longest_) {}

  /// Whether the limits allow for any polling at all.
  [[nodiscard]] bool ever_polls() const { return ever_polls_; }

  /// There is no work at `now`: how long to poll for it.
  [[nodiscard]] Duration open(Clock::time_point now) {
    paid_for_ = !allowance_.limited() || allowance_.left(now) >= now_;
    return paid_for_ ? now_ : Duration::zero();
  }

  /// The budget has run out, and the queue is idle for `idle`: whether to nap before the next look.
  [[nodiscard]] bool naps(Duration idle) const {
    return ever_polls_ && paid_for_ && notice_ == Notice::kMessage && idle < naps_now_;
  }

  /// A notification ended a sleep.
  void notified(Notice notice) { notice_ = notice; }

  /// How long the next nap is, after `naps` of them and `idle` since the last work. The first one
  /// is nearly as long as work has lately stayed away; after it work waits for an eighth of the
  /// time that it took to come, or for a look.
  [[nodiscard]] Duration nap(Duration idle, unsigned naps) const {
    return naps == 0 ? first_nap_ : std::clamp(idle / 8, kLook, kLongestNap);
  }

  /// Work came while the queue was polled, after it had been in vain for `polled`.
  void caught(Duration polled) {
    in_vain_ = 0;
    pay(polled);
  }
  /// The budget ran out after `polled`; work came `idle` after the last, and `naps` naps.
  void missed(Duration polled, Duration idle, unsigned naps = 0) {
    pay(polled + naps * kNapCost);
    if (!paid_for_) return;  // it was not tried
    naps_now_ = adapted(naps_now_, naps_longest_, idle <= kNear * naps_longest_);
    // Work that a nap's end finds may have waited for most of it; that it was too short is certain
    // if it took another one.
    if (naps == 1) first_nap_ = std::max(kFirstNap, first_nap_ * 3 / 4);
    if (naps > 1 && idle < naps_longest_) {
      first_nap_ += kLook / 2;
      first_nap_ = std::clamp(std::min(first_nap_, naps_longest_ / 2), kFirstNap, kLongestNap);
    }
    ++in_vain_;
    // Work that comes always just too late is not worth the whole budget each time: now and then
    // it is tried again.
    const bool try_it = in_vain_ < kInVainMost || in_vain_ % kInVainMost == 0;
    now_ = adapted(now_, longest_, idle <= kNear * longest_ && try_it);
  }

 private:
  static constexpr Duration kShortest = std::chrono::microseconds(2);
  /// A wake-up or two: an idle time that had been shorter, had the worker not slept.
  static constexpr int kNear = 4;
  static constexpr std::uint32_t kInVainMost = 16;

  /// Falling asleep and waking up.
  static constexpr Duration kNapCost = std::chrono::microseconds(5);

  static Duration adapted(Duration now, Duration longest, bool whole) {
    if (whole) return longest;
    return now < 2 * kShortest ? Duration::zero() : now / 2;
  }
  void pay(Duration polled) {
    if (allowance_.limited()) allowance_.spend(polled);
  }

  Duration longest_;
  Duration now_;
  Duration naps_longest_;
  Duration naps_now_;
  Duration first_nap_{kFirstNap};
  Notice notice_ = Notice::kMessage;
  bool ever_polls_;
  std::uint32_t in_vain_ = 0;  // budgets that ran out since one did not
  CpuAllowance allowance_;
  bool paid_for_ = true;  // the budget that was last opened
};

}  // namespace airlock::device
