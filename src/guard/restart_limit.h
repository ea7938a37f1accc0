// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>

#include "guard/poller.h"

namespace airlock::guard {

/// When a device that failed is to be started again: at once the first time, then after longer and
/// longer waits as long as it does not come up; not at all any more if it has failed too often.
class RestartLimit {
 public:
  struct Options {
    std::uint32_t burst = 5;  // starts within `interval`; 0: never
    std::chrono::milliseconds interval{10'000};
    std::chrono::milliseconds first_delay{50};  // doubled each time
    std::chrono::milliseconds longest_delay{2000};
  };

  explicit RestartLimit(Options options) : options_(options) {}

  /// It has failed: when to try again; nothing if no more.
  std::optional<TimePoint> failed(TimePoint now) {
    while (!starts_.empty() && now - starts_.front() > options_.interval)
      starts_.pop_front();
    if (starts_.size() >= options_.burst) return std::nullopt;
    const auto delay = failures_ == 0 ? std::chrono::milliseconds(0) : delay_;
    delay_ = failures_ == 0 ? options_.first_delay : std::min(delay_ * 2, options_.longest_delay);
    ++failures_;
    starts_.push_back(now);
    return now + delay;
  }
  /// It works.
  void came_up() { failures_ = 0; }

 private:
  Options options_;
  std::deque<TimePoint> starts_;
  std::uint32_t failures_ = 0;  // since it came up last
  std::chrono::milliseconds delay_{0};
};

}  // namespace airlock::guard
