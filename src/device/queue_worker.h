// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "base/event_fd.h"
#include "base/result.h"
#include "device/poll_budget.h"
#include "device/queue_metrics.h"
#include "device/queue_task.h"

namespace airlock::device {

/// One thread that runs one queue: busy while there is work, polling a little longer, napping for a
/// while, asleep at rest.
///
/// While it is awake the driver is spared notifications (each costs a message through the VMM);
/// before it sleeps it asks for one. All functions are for the control thread, but notify(), which
/// any may call.
class QueueWorker {
 public:
  struct Options {
    std::uint16_t queue = 0;
    PollBudget::Limits poll{.longest = std::chrono::microseconds(100)};
    bool at_rest = false;             // begins as if paused: rebind() and resume() follow
    QueueMetrics* metrics = nullptr;  // outlives it; null: nobody wants to know
    /// Outlives it; null: there is none. What the driver signals instead of having notify() called:
    /// it may be given to a driver, who can fill, empty and block it, because orders come another
    /// way, and only a worker that waits for notifications looks at it.
    const EventFd* doorbell = nullptr;
    /// The driver broke the queue: called once, on the worker's thread.
    std::function<void(const Error&)> on_broken;
  };

  /// Takes the task over and starts the thread. Errors: kSystem.
  static Result<std::unique_ptr<QueueWorker>> start(std::unique_ptr<QueueTask> task,
                                                    Options options);
  /// Stops, if nobody did, and waits for what is in flight.
  ~QueueWorker();
  QueueWorker(const QueueWorker&) = delete;
  QueueWorker& operator=(const QueueWorker&) = delete;

  /// The driver made something available. Cheap; any thread.
  void notify() const { wake_.signal(); }

  /// Finishes what is in flight, takes nothing new, then calls `paused` on the worker's thread.
  void pause(std::function<void()> paused);
  void resume();
  /// While paused: QueueTask::rebind().
  [[nodiscard]] Result<void> rebind() { return task_->rebind(); }

  /// As pause(), for good. With `discard` nothing more is written to the ring (a reset).
  void stop(bool discard, std::function<void()> stopped);

 private:
  enum class Order : std::uint8_t { kRun, kPause, kStop, kStopAndDiscard };

  /// What ends a sleep: each adds to the one before it.
  enum class Watch : std::uint8_t { kOrders, kCompletions, kNotifications };

  /// The time without work.
  struct Idle {
    unsigned looks = 0;  // in vain, without looking at the clock
    unsigned naps = 0;
    std::optional<PollBudget::Clock::time_point> since;
    PollBudget::Duration patience{};  // to poll
    PollBudget::Duration waited{};
  };

  QueueWorker(std::unique_ptr<QueueTask> task, Options options, EventFd wake);
  void run();
  /// One round of work; false once the queue is broken.
  bool work();
  /// Whether there was progress; nothing once the queue is broken, which has been reported then.
  std::optional<bool> poll_once();
  /// One look was in vain: polls or naps on before the next, or false: it's time to sleep.
  bool look_on(Idle& idle);
  /// Work came after `idle`, and polling `caught` it, or it took naps or a sleep.
  void end(Idle& idle, bool caught);
  void sleep(Watch watch);
  void nap(PollBudget::Duration time);
  /// Until there is something of what is watched, for `longest` (null: for ever).
  void wait(Watch watch, const timespec* longest);
  void finish_in_flight(Order order);
  void give(Order order, std::function<void()> done);
  std::function<void()> take_done();
  [[nodiscard]] Order order() const { return order_.load(std::memory_order_acquire); }

  std::unique_ptr<QueueTask> task_;
  Options options_;
  EventFd wake_;
  PollBudget budget_;
  QueueMetrics unread_metrics_;
  QueueMetrics* metrics_;
  bool broken_ = false;  // worker's thread only
  std::atomic<Order> order_{Order::kRun};
  std::mutex done_mutex_;  // guards done_
  std::function<void()> done_;
  std::thread thread_;
};

}  // namespace airlock::device
