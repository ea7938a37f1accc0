// SPDX-License-Identifier: Apache-2.0
#include "device/queue_worker.h"

#include <poll.h>
#include <pthread.h>
#include <sys/prctl.h>

#include <algorithm>
#include <array>
#include <system_error>
#include <utility>

#include <fmt/core.h>

#include "base/relax.h"

namespace airlock::device {

namespace {

using Clock = std::chrono::steady_clock;

/// Fruitless looks before the first at the clock, which takes as long as one at the ring: less than
/// a microsecond, which no budget pays for.
constexpr unsigned kLooksWithoutClock = 16;
constexpr unsigned long kTimerSlackNs = 1000;

}  // namespace

Result<std::unique_ptr<QueueWorker>> QueueWorker::start(std::unique_ptr<QueueTask> task,
                                                        Options options) {
  EventFd wake = TRY(EventFd::create());
  std::unique_ptr<QueueWorker> worker(
      new QueueWorker(std::move(task), std::move(options), std::move(wake)));
  try {
    worker->thread_ = std::thread([self = worker.get()] { self->run(); });
  } catch (const std::system_error& error) {
    return fail(system_error(error.code().value()));
  }
  return worker;
}

QueueWorker::QueueWorker(std::unique_ptr<QueueTask> task, Options options, EventFd wake)
    : task_(std::move(task)),
      options_(std::move(options)),
      wake_(std::move(wake)),
      budget_(options_.poll),
      metrics_(options_.metrics != nullptr ? options_.metrics : &unread_metrics_),
      order_(options_.at_rest ? Order::kPause : Order::kRun) {}

QueueWorker::~QueueWorker() {
  if (order() != Order::kStop && order() != Order::kStopAndDiscard) stop(true, nullptr);
  if (thread_.joinable()) thread_.join();
}

void QueueWorker::pause(std::function<void()> paused) {
  give(Order::kPause, std::move(paused));
}

void QueueWorker::resume() {
  give(Order::kRun, nullptr);
}

void QueueWorker::stop(bool discard, std::function<void()> stopped) {
  give(discard ? Order::kStopAndDiscard : Order::kStop, std::move(stopped));
}

void QueueWorker::give(Order order, std::function<void()> done) {
  {
    const std::lock_guard lock(done_mutex_);
    done_ = std::move(done);
  }
  order_.store(order, std::memory_order_release);
  wake_.signal();
}

void QueueWorker::run() {
  pthread_setname_np(pthread_self(), fmt::format("queue-{}", options_.queue).c_str());
  // By default Linux wakes up to 50 us late, which is longer than a nap. Refused, naps are longer.
  static_cast<void>(prctl(PR_SET_TIMERSLACK, kTimerSlackNs, 0, 0, 0));
  // At rest the task is the control thread's (rebind), and must not be touched here.
  bool at_rest = options_.at_rest;
  for (;;) {
    const Order now = order();
    if (now == Order::kRun) {
      at_rest = false;
      if (!broken_ && work()) continue;
      task_->drain(true);
      sleep(task_->in_flight() > 0 ? Watch::kCompletions : Watch::kOrders);
      continue;
    }
    if (!at_rest) finish_in_flight(now);
    at_rest = true;
    if (auto done = take_done()) done();
    if (now != Order::kPause) return;
    sleep(Watch::kOrders);
  }
}

std::function<void()> QueueWorker::take_done() {
  const std::lock_guard lock(done_mutex_);
  return std::exchange(done_, nullptr);
}

bool QueueWorker::work() {
  task_->want_notifications(false);
  Idle idle;
  while (order() == Order::kRun) {
    const auto progress = poll_once();
    if (!progress) return false;
    if (*progress) {
      if (idle.looks > 0) end(idle, idle.naps == 0);
      continue;
    }
    if (look_on(idle)) continue;
    task_->want_notifications(true);
    // A chain that came before the driver saw the request brings no notification: look once more.
    const auto late = poll_once();
    if (!late) return false;
    if (!*late) {
      task_->idle_for(PollBudget::Duration::max());
      sleep(Watch::kNotifications);
    }
    task_->want_notifications(false);
    end(idle, false);
  }
  return true;
}

bool QueueWorker::look_on(Idle& idle) {
  if (idle.looks++ < kLooksWithoutClock && budget_.ever_polls()) {
    relax();
    return true;
  }
  const auto looked = Clock::now();
  if (!idle.since) {
    idle.since = looked;
    idle.patience = budget_.open(looked);
  }
  idle.waited = looked - *idle.since;
  if (idle.waited < idle.patience) {
    task_->idle_for(idle.waited);
    relax();
    return true;
  }
  if (!budget_.naps(idle.waited)) return false;
  const PollBudget::Duration time = budget_.nap(idle.waited, idle.naps);
  task_->idle_for(idle.waited + time);
  nap(time);
  ++idle.naps;
  return true;
}

void QueueWorker::end(Idle& idle, bool caught) {
  if (caught) {
    budget_.caught(idle.waited);
  } else {
    const auto now = Clock::now();
    budget_.missed(std::min(idle.waited, idle.patience), now - idle.since.value_or(now), idle.naps);
  }
  idle = {};
}

std::optional<bool> QueueWorker::poll_once() {
  const Result<bool> progress = task_->poll();
  if (progress) {
    if (!*progress) ++metrics_->empty_polls;
    return *progress;
  }
  broken_ = true;
  if (options_.on_broken) options_.on_broken(progress.error());
  return std::nullopt;
}

void QueueWorker::sleep(Watch watch) {
  wait(watch, nullptr);
  ++metrics_->wake_ups;
}

void QueueWorker::nap(PollBudget::Duration time) {
  const timespec longest{.tv_sec = 0, .tv_nsec = time.count()};
  wait(Watch::kCompletions, &longest);
  ++metrics_->naps;
}

void QueueWorker::wait(Watch watch, const timespec* longest) {
  // ppoll(2) skips -1.
  const int completions = watch != Watch::kOrders ? task_->completion_fd() : -1;
  const EventFd* const doorbell = watch == Watch::kNotifications ? options_.doorbell : nullptr;
  std::array<pollfd, 3> fds{
      {{.fd = wake_.fd(), .events = POLLIN, .revents = 0},
       {.fd = completions, .events = POLLIN, .revents = 0},
       {.fd = doorbell != nullptr ? doorbell->fd() : -1, .events = POLLIN, .revents = 0}}};
  ::ppoll(fds.data(), fds.size(), longest, nullptr);
  const bool called = fds[0].revents != 0 && wake_.drain();
  if (doorbell == nullptr) return;
  if (fds[2].revents != 0 && doorbell->drain()) {
    ++metrics_->doorbells;
    budget_.notified(PollBudget::Notice::kDoorbell);
  } else if (called && order() == Order::kRun) {
    budget_.notified(PollBudget::Notice::kMessage);
  }
}

void QueueWorker::finish_in_flight(Order order) {
  const bool discard = order == Order::kStopAndDiscard || broken_;
  task_->drain(discard);
  while (task_->in_flight() > 0) {
    sleep(Watch::kCompletions);
    task_->drain(discard);
  }
}

}  // namespace airlock::device
