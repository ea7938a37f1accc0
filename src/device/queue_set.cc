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

Result<void> QueueSet::add(std::uint16_t queue, std::unique_ptr<QueueTask> task,
                           QueueMetrics* metrics, const EventFd* doorbell) {
  CHECK(!workers_.contains(queue));
  auto broken = [self = self_, post = options_.post](const Error& error) {
    post([self, error] {
      if (*self != nullptr && (*self)->options_.on_broken) (*self)->options_.on_broken(error);
    });
  };
  // One that ran while memory changes would look for its ring where that was.
  const bool pausing = waiting_for_ > 0 && operations_.front().kind == Kind::kPause;
  workers_.emplace(queue, TRY(QueueWorker::start(std::move(task), {.queue = queue,
                                                                   .poll = options_.poll,
                                                                   .at_rest = pausing || at_rest_,
                                                                   .metrics = metrics,
                                                                   .doorbell = doorbell,
                                                                   .on_broken = broken})));
  return {};
}

void QueueSet::notify(std::uint16_t queue) const {
  const auto found = workers_.find(queue);
  if (found != workers_.end()) found->second->notify();
}

void QueueSet::pause(std::function<void()> paused) {
  give({.kind = Kind::kPause, .done = std::move(paused)});
}

void QueueSet::resume() {
  CHECK(waiting_for_ == 0);
  at_rest_ = false;
  for (const auto& [queue, worker] : workers_) {
    if (worker->rebind()) worker->resume();
  }
}

void QueueSet::stop_one(std::uint16_t queue, std::function<void()> stopped) {
  give({.kind = Kind::kStopOne, .queue = queue, .discard = true, .done = std::move(stopped)});
}

void QueueSet::stop(bool discard, std::function<void()> stopped) {
  give({.kind = Kind::kStop, .discard = discard, .done = std::move(stopped)});
}

void QueueSet::stop_and_wait(bool discard) {
  for (const auto& [queue, worker] : workers_)
    worker->stop(discard, nullptr);
  workers_.clear();  // joins
  // What was asked for before is fulfilled: there are no queues. Its askers hear of it, in order.
  waiting_for_ = 0;
  at_rest_ = false;
  ++round_;
  auto asked = std::exchange(operations_, {});
  for (const Operation& operation : asked) {
    if (operation.done) operation.done();
  }
}

void QueueSet::give(Operation operation) {
  operations_.push_back(std::move(operation));
  next_operation();
}

void QueueSet::next_operation() {
  while (waiting_for_ == 0 && !operations_.empty()) {
    waiting_for_ = concerned(operations_.front());
    if (waiting_for_ > 0) {
      begin(operations_.front());
      return;
    }
    finish_first();
  }
}

std::size_t QueueSet::concerned(const Operation& operation) const {
  return operation.kind == Kind::kStopOne ? workers_.count(operation.queue) : workers_.size();
}

void QueueSet::begin(const Operation& operation) {
  auto report = [self = self_, post = options_.post, round = ++round_] {
    post([self, round] {
      if (*self != nullptr) (*self)->one_finished(round);
    });
  };
  for (const auto& [queue, worker] : workers_) {
    switch (operation.kind) {
      case Kind::kPause:
        worker->pause(report);
        break;
      case Kind::kStopOne:
        if (queue == operation.queue) worker->stop(operation.discard, report);
        break;
      case Kind::kStop:
        worker->stop(operation.discard, report);
        break;
    }
  }
}

void QueueSet::one_finished(std::uint64_t round) {
  if (round != round_ || --waiting_for_ > 0) return;
  finish_first();
  next_operation();
}

void QueueSet::finish_first() {
  const Operation finished = std::move(operations_.front());
  operations_.pop_front();
  // Threads that were stopped have ended or are about to.
  if (finished.kind == Kind::kStop) workers_.clear();
  if (finished.kind == Kind::kStopOne) workers_.erase(finished.queue);
  if (finished.kind != Kind::kStopOne) at_rest_ = finished.kind == Kind::kPause;
  if (finished.done) finished.done();
}

}  // namespace airlock::device
