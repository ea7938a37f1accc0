// SPDX-License-Identifier: Apache-2.0
//
// How a queue is waited for: looks at the ring, as long as that pays, then the device's interrupt.
#include <algorithm>
#include <array>
#include <utility>

#include "base/relax.h"
#include "driver/blk_queue.h"
#include "driver/wait.h"

namespace airlock::driver {

namespace {

// Looks at the ring that a wait begins with, before it asks for the time: half a microsecond.
constexpr unsigned kQuickLooks = 16;

}  // namespace

Result<void> BlkQueue::wait(std::chrono::milliseconds timeout) {
  if (look_for(std::nullopt)) return {};
  return wait_for(std::nullopt, Deadline::after(timeout));
}

Result<void> BlkQueue::run(const BlkRequest& request) {
  const std::uint64_t id = TRY(submit(request));
  if (!look_for(id)) {
    const auto waited = wait_for(id, Deadline::after(limits_.timeout));
    if (!waited) stop(device_.fail_device(waited.error()).error());
  }
  const auto mine = std::ranges::find(done_, id, &BlkCompletion::id);
  CHECK(mine != done_.end());
  const std::optional<Error> error = mine->error;
  done_.erase(mine);
  if (error) return fail(*error);
  return {};
}

bool BlkQueue::arm() {
  if (queue_ && !broken_) queue_->ring().want_interrupts(true);
  (void)reap();
  kick();
  return !done_.empty();
}

void BlkQueue::disarm() {
  if (!queue_ || broken_) return;
  queue_->ring().want_interrupts(false);
  if (device_.transport().take_interrupt(queue_->vector())) {
    ++counters_.interrupts;
    // One of vector 0 stays, and ends the next wait at once: not looked for each time.
    return;
  }
  if (!device_.transport().take_interrupt(0)) return;
  if (const auto alive = device_.check(); !alive) stop(alive.error());
}

bool BlkQueue::is_done(std::optional<std::uint64_t> id) const {
  if (!id) return !done_.empty();
  return std::ranges::find(done_, *id, &BlkCompletion::id) != done_.end();
}

// What a device at work returns at once is there before anybody need ask for the time. A device
// that had to be notified is not that fast.
bool BlkQueue::look_for(std::optional<std::uint64_t> id) {
  if (limits_.spin.count() == 0) return false;
  for (unsigned looks = 0; looks < kQuickLooks; ++looks) {
    (void)reap();
    kick();
    if (is_done(id)) {
      spin_.caught();
      return true;
    }
    ++counters_.empty_polls;
    if (notified_ || inside_ == 0) return false;
    relax();
  }
  return false;
}

Result<void> BlkQueue::wait_for(std::optional<std::uint64_t> id, const Deadline& deadline) {
  const auto start = SpinWindow::Clock::now();
  spin_.open(start);
  pace_.start(start);
  bool slept = false;  // since anything came
  for (;;) {
    const bool progress = reap();
    if (!progress) ++counters_.empty_polls;
    if (progress && !std::exchange(slept, false)) spin_.caught();
    kick();
    const auto now = SpinWindow::Clock::now();
    if (is_done(id)) {
      pace_.came(now);
      return {};
    }
    if (inside_ == 0) return fail(Errc::kWrongState);
    if (progress) spin_.open(now);
    const bool late = deadline.passed(now);
    if (!late && spin_.is_open(now, notified_)) {
      relax();
      continue;
    }
    if (late) {
      // A device in need may have had no way to say so.
      if (const auto alive = device_.check(); !alive) {
        stop(alive.error());
        continue;
      }
      return fail(deadline.error());
    }
    spin_.in_vain();
    slept = true;
    sleep(deadline);
  }
}

// Until an interrupt, or for a moment where none would come.
void BlkQueue::sleep(const Deadline& deadline) {
  // What waits for the pool alone is woken by nobody: other queues free it.
  const int fd = interrupt_fd();
  if (fd < 0 || !in_flight()) return pause_for(pace_.pause(PollPace::Clock::now()));
  const std::uint64_t before = counters_.requests.get();
  (void)arm();
  // It may have taken the last part in flight of a request that has more, and found the pool full.
  if (counters_.requests.get() == before && in_flight()) {
    const std::array<int, 3> fds{fd, device_.transport().interrupt_fd(0), device_.broken_fd()};
    ++counters_.sleeps;
    (void)wait_readable(fds, deadline);
    spin_.open(SpinWindow::Clock::now());
  }
  disarm();
}

}  // namespace airlock::driver
