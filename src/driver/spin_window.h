// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>

#include "base/cpu_allowance.h"

namespace airlock::driver {

/// How long a wait looks at the ring before it sleeps. A device at work is heard of sooner that
/// way, and spared an interrupt: with both sides awake neither has to wake the other. Each progress
/// opens the window anew, so a device that keeps returning requests lets nobody sleep.
///
/// After a notification the device has to wake up first, which takes two of its threads: the window
/// is kAfterNotification times as long. Where many windows in a row showed nothing, there are none
/// but a rare one to try, until one of them shows something again: a slow disk costs no processor
/// time. And all looks that show nothing are paid from a share of a core, whether something comes
/// in the end or not: a window that can't be paid for stays closed. Decides only; one thread at a
/// time.
class SpinWindow {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr int kAfterNotification = 2;
  static constexpr unsigned kVainMax = 16;  // windows in a row
  static constexpr unsigned kTryEvery = 64;

  /// `length` of a window without a notification; zero: none at all. `cpu_percent` of a core, in
  /// any longer stretch: see CpuAllowance.
  explicit SpinWindow(std::chrono::microseconds length, unsigned cpu_percent = 100)
      : length_(length), allowance_(cpu_percent, length * kAfterNotification) {}

  /// A wait begins, something came, or an interrupt woke it: the window opens.
  void open(Clock::time_point now) {
    if (allowance_.limited()) {
      allowance_.spend(looked_ - since_);
      paid_for_ = allowance_.left(now) >= length_ * kAfterNotification;
    }
    since_ = now;
    looked_ = now;
  }
  /// The window showed something.
  void caught() { vain_ = 0; }
  /// It closed, and nothing had come.
  void in_vain() {
    if (paid_for_) vain_++;
  }

  /// Whether to look again before going to sleep. `notified`: nothing came back since the last
  /// notification.
  [[nodiscard]] bool is_open(Clock::time_point now, bool notified) {
    looked_ = now;
    if (!paid_for_) return false;
    if (vain_ >= kVainMax && vain_ % kTryEvery != 0) return false;
    return now - since_ < length_ * (notified ? kAfterNotification : 1);
  }

 private:
  std::chrono::microseconds length_;
  Clock::time_point since_;
  Clock::time_point looked_;  // last, through this window
  unsigned vain_ = 0;         // windows since the last that was not
  CpuAllowance allowance_;
  bool paid_for_ = true;  // this window
};

}  // namespace airlock::driver
