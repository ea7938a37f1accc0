// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include "device/queue_task.h"

namespace airlock::compare {

/// A queue's task behind a gate. While it is shut nothing new is taken from the ring, so that what
/// a driver gave away stays in flight and can be looked at. The worker's thread, but for the gate,
/// which any thread moves; who opens it notifies the worker.
class GatedTask final : public device::QueueTask {
 public:
  GatedTask(std::unique_ptr<device::QueueTask> task, const std::atomic<bool>& shut)
      : task_(std::move(task)), shut_(shut) {}

  Result<bool> poll() override {
    if (shut_.load(std::memory_order_acquire)) return false;
    return task_->poll();
  }
  void want_notifications(bool wanted) override { task_->want_notifications(wanted); }
  void idle_for(std::chrono::nanoseconds idle) override { task_->idle_for(idle); }
  [[nodiscard]] int completion_fd() const override { return task_->completion_fd(); }
  [[nodiscard]] std::size_t in_flight() const override { return task_->in_flight(); }
  void drain(bool discard) override { task_->drain(discard); }
  [[nodiscard]] Result<void> rebind() override { return task_->rebind(); }

 private:
  std::unique_ptr<device::QueueTask> task_;
  const std::atomic<bool>& shut_;
};

}  // namespace airlock::compare
