// SPDX-License-Identifier: Apache-2.0
#include "driver/net_ring.h"

#include <array>

#include "base/relax.h"
#include "driver/wait.h"

namespace airlock::driver {

void NetRing::attach(std::unique_ptr<Queue> queue) {
  CHECK(!queue_);
  queue_ = std::move(queue);
  broken_ = Error{.code = Errc::kQueueBroken};
}

void NetRing::begin() {
  broken_.reset();
  notified_ = false;
  ring().want_interrupts(false);
}

void NetRing::stop(const Error& error) {
  if (!broken_) broken_ = error;
  if (queue_ && !ring().broken()) ring().abandon();
}

void NetRing::stop_device(const Error& error) {
  stop(device_.fail_device(error).error());
}

bool NetRing::take(ring::Completion& target) {
  if (!usable()) return false;
  if (const auto error = device_.broken()) {
    stop(*error);
    return false;
  }
  const auto taken = ring().poll(target);
  if (!taken) {
    stop_device(taken.error());
    return false;
  }
  if (*taken) notified_ = false;
  return *taken;
}

void NetRing::kick() {
  if (!usable() || !ring().publish()) return;
  ++counters_.notifications;
  notified_ = true;
  if (const auto notified = queue_->notify(); !notified) stop_device(notified.error());
}

Result<void> NetRing::wait(const std::function<bool()>& look, const Deadline& deadline) {
  spin_.open(SpinWindow::Clock::now());
  for (unsigned round = 0;; ++round) {
    if (look()) {
      spin_.caught();
      return {};
    }
    if (broken_) return fail(*broken_);
    const auto now = SpinWindow::Clock::now();
    if (deadline.passed(now)) {
      // A device in need may have had no way to say so.
      if (const auto alive = device_.check(); !alive) stop(alive.error());
      return fail(broken_.value_or(deadline.error()));
    }
    if (spin_.is_open(now, notified_)) {
      relax();
      continue;
    }
    spin_.in_vain();
    sleep(look, deadline, round);
    spin_.open(SpinWindow::Clock::now());
  }
}

// Until an interrupt, or for a moment where none would come.
void NetRing::sleep(const std::function<bool()>& look, const Deadline& deadline, unsigned round) {
  if (interrupt_fd() < 0) return pause_between_polls(round);
  arm();
  if (!look() && !broken_) {
    const std::array<int, 3> fds{interrupt_fd(), device_.transport().interrupt_fd(0),
                                 device_.broken_fd()};
    ++counters_.sleeps;
    (void)wait_readable(fds, deadline);
  }
  disarm();
}

void NetRing::arm() {
  if (usable()) ring().want_interrupts(true);
}

void NetRing::disarm() {
  if (!usable()) return;
  ring().want_interrupts(false);
  if (device_.transport().take_interrupt(queue_->vector())) {
    ++counters_.interrupts;
    return;
  }
  if (!device_.transport().take_interrupt(0)) return;
  if (const auto alive = device_.check(); !alive) stop(alive.error());
}

}  // namespace airlock::driver
