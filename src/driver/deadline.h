// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "base/checked.h"
#include "base/error.h"

namespace airlock::driver {

/// When to give up: every wait for a device has one (HD-19).
class Deadline {
 public:
  using Clock = std::chrono::steady_clock;

  static Deadline after(std::chrono::milliseconds timeout) { return Deadline(timeout); }

  [[nodiscard]] bool passed() const { return passed(Clock::now()); }
  [[nodiscard]] bool passed(Clock::time_point now) const { return now >= end_; }
  [[nodiscard]] std::chrono::milliseconds left() const {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end_ - Clock::now());
    return std::max(left, std::chrono::milliseconds(0));
  }
  /// kTimeout, with how long the wait was meant to be.
  [[nodiscard]] Error error() const {
    const auto ms = static_cast<std::uint64_t>(std::max<std::int64_t>(timeout_.count(), 0));
    return {.code = Errc::kTimeout, .detail = saturate<std::uint32_t>(ms)};
  }

 private:
  explicit Deadline(std::chrono::milliseconds timeout)
      : timeout_(timeout), end_(Clock::now() + timeout) {}

  std::chrono::milliseconds timeout_;
  Clock::time_point end_;
};

}  // namespace airlock::driver
