// SPDX-License-Identifier: Apache-2.0
#include "device/rng/rng_allowance.h"

#include <sys/timerfd.h>

#include <limits>

#include "base/check.h"

namespace airlock::device {

Result<RngAllowance> RngAllowance::create(const Limit& limit) {
  if (limit.max_bytes == 0) return RngAllowance(limit, Fd());
  CHECK(limit.period.count() > 0);
  Fd timer = TRY(own_fd(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)));
  return RngAllowance(limit, std::move(timer));
}

std::uint64_t RngAllowance::left(Clock::time_point now) {
  if (!is_limited()) return std::numeric_limits<std::uint64_t>::max();
  if (running_ && now >= end_) {
    running_ = false;
    spent_ = 0;
    set_timer({});  // it is not readable any more
  }
  return limit_.max_bytes - spent_;
}

void RngAllowance::spend(std::uint64_t bytes, Clock::time_point now) {
  if (!is_limited() || bytes == 0) return;
  CHECK(bytes <= limit_.max_bytes - spent_);
  spent_ += bytes;
  if (running_) return;
  running_ = true;
  end_ = now + limit_.period;
  set_timer(end_);
}

// To 0: off. The clock is the same one.
void RngAllowance::set_timer(Clock::time_point when) const {
  const auto ns = std::chrono::nanoseconds(when.time_since_epoch()).count();
  constexpr std::int64_t kSecond = 1'000'000'000;
  const itimerspec time{.it_interval = {},
                        .it_value = {.tv_sec = ns / kSecond, .tv_nsec = ns % kSecond}};
  CHECK(::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &time, nullptr) == 0);
}

}  // namespace airlock::device
