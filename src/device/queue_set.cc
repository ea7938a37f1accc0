// SPDX-License-Identifier: Apache-2.0
#include "device/queue_set.h"

#include <utility>

namespace airlock::device {

QueueSet::QueueSet(Options options)
    : options_(std::move(options)), self_(std::make_shared<QueueSet*>(this)) {}

QueueSet::~QueueSet() {
  stop_and_wait(true);
  *self_ = nullptr;
}

Result<void> QueueSet::add(std::uint16_t queue, std::unique_ptr<QueueTask> task) {
  CHECK(!workers_.contains(queue));
  auto broken = [self = self_, post = options_.post](const Error& error) {
    post([self, error] {
      if (*self != nullptr && (*self)->options_.on_broken) (*self)->options_.on_broken(error);
    });
  };
  workers_.emplace(
      queue,
      TRY(QueueWorker::start(
          std::move(task), {.queue = queue, .poll_max = options_.poll_max, .on_broken = broken})));
  return {};
}

void QueueSet::notify(std::uint16_t queue) const {
  const auto found = workers_.find(queue);
  if (found != workers_.end()) found->second->notify();
}

void QueueSet::pause(std::function<void()> paused) {
  operations_.push_back({.done = std::move(paused)});
  next_operation();
}

void QueueSet::resume() {
  CHECK(waiting_for_ == 0);
  for (const auto& [queue, worker] : workers_) {
    if (worker->rebind()) worker->resume();
  }
}

void QueueSet::stop(bool discard, std::function<void()> stopped) {
  operations_.push_back({.ends = true, .discard = discard, .done = std::move(stopped)});
  next_operation();
}

void QueueSet::stop_and_wait(bool discard) {
  for (const auto& [queue, worker] : workers_)
    worker->stop(discard, nullptr);
  workers_.clear();  // joins
  // What was asked for before is fulfilled: there are no queues. Its askers hear of it, in order.
  waiting_for_ = 0;
  ++round_;
  auto asked = std::exchange(operations_, {});
  for (const Operation& operation : asked) {
    if (operation.done) operation.done();
  }
}

void QueueSet::next_operation() {
  while (waiting_for_ == 0 && !operations_.empty()) {
    waiting_for_ = workers_.size();
    if (waiting_for_ > 0) {
      begin(operations_.front());
      return;
    }
    const Operation finished = std::move(operations_.front());
    operations_.pop_front();
    if (finished.done) finished.done();
  }
}

void QueueSet::begin(const Operation& operation) {
  auto report = [self = self_, post = options_.post, round = ++round_] {
    post([self, round] {
      if (*self != nullptr) (*self)->one_finished(round);
    });
  };
  for (const auto& [queue, worker] : workers_) {
    if (operation.ends) {
      worker->stop(operation.discard, report);
    } else {
      worker->pause(report);
    }
  }
}

void QueueSet::one_finished(std::uint64_t round) {
  if (round != round_ || --waiting_for_ > 0) return;
  const Operation finished = std::move(operations_.front());
  operations_.pop_front();
  if (finished.ends) workers_.clear();  // their threads have ended or are about to
  if (finished.done) finished.done();
  next_operation();
}

}  // namespace airlock::device
