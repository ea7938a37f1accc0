// SPDX-License-Identifier: Apache-2.0
#include "device/blk/blk_hold.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/check.h"

namespace airlock::device {

namespace {

using Clock = std::chrono::steady_clock;

Result<void> watch(const Fd& events, int fd, std::uint32_t what = EPOLLIN) {
  epoll_event event{.events = what, .data = {.fd = fd}};
  if (epoll_ctl(events.get(), EPOLL_CTL_ADD, fd, &event) != 0) return fail(system_error());
  return {};
}

}  // namespace

Result<std::unique_ptr<BlkHold>> BlkHold::create(OnError policy, const EventFd& bell,
                                                 int completion_fd) {
  CHECK(policy != OnError::kReport);
  Fd events = TRY(own_fd(epoll_create1(EPOLL_CLOEXEC)));
  Fd timer = TRY(own_fd(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)));
  TRY(watch(events, timer.get()));
  TRY(watch(events, bell.fd(), 0));
  if (completion_fd >= 0) TRY(watch(events, completion_fd));
  return std::unique_ptr<BlkHold>(new BlkHold(policy, bell, std::move(events), std::move(timer)));
}

BlkHold::BlkHold(OnError policy, const EventFd& bell, Fd events, Fd timer)
    : policy_(policy), bell_(&bell), events_(std::move(events)), timer_(std::move(timer)) {}

bool BlkHold::wants(int error) const {
  return error != 0 && (policy_ != OnError::kEnospc || error == ENOSPC);
}

std::optional<std::chrono::milliseconds> BlkHold::add(const Held& held, unsigned attempts) {
  if (held_.empty()) {
    static_cast<void>(bell_->drain());  // it rang for others
    hear_bell(true);
  }
  held_.push_back(held);
  if (policy_ != OnError::kRetry) return std::nullopt;
  const auto delay = std::min(kDelayFirst * (1U << std::min(attempts, 10U)), kDelayMost);
  const auto when = Clock::now() + delay;
  if (!due_ || when < *due_) {
    due_ = when;
    set_timer(delay);
  }
  return delay;
}

std::vector<BlkHold::Held> BlkHold::take_due() {
  if (held_.empty()) return {};
  const bool rung = bell_->drain();
  std::uint64_t expirations = 0;
  const bool expired = due_ && ::read(timer_.get(), &expirations, sizeof expirations) > 0;
  if (!rung && !expired) return {};
  return take_all();
}

std::vector<BlkHold::Held> BlkHold::take_all() {
  if (due_) set_timer(std::chrono::milliseconds(0));
  due_.reset();
  if (!held_.empty()) hear_bell(false);
  return std::exchange(held_, {});
}

// A bell that rings while nothing waits must not keep the queue awake.
void BlkHold::hear_bell(bool on) const {
  epoll_event event{.events = on ? std::uint32_t{EPOLLIN} : 0U, .data = {.fd = bell_->fd()}};
  static_cast<void>(epoll_ctl(events_.get(), EPOLL_CTL_MOD, bell_->fd(), &event));
}

void BlkHold::set_timer(std::chrono::milliseconds delay) const {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(delay);
  itimerspec when{};
  when.it_value.tv_sec = seconds.count();
  when.it_value.tv_nsec = std::chrono::nanoseconds(delay - seconds).count();
  static_cast<void>(timerfd_settime(timer_.get(), 0, &when, nullptr));
}

}  // namespace airlock::device
