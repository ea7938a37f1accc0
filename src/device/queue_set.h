// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>

#include "device/queue_worker.h"

namespace airlock::device {

/// The running queues of one device: a worker each. For the control thread, which it never blocks
/// (but in stop_and_wait()): what takes a while is reported back to that thread.
class QueueSet {
 public:
  /// Runs a function on the control thread, later. Any thread may call it.
  using Post = std::function<void(std::function<void()>)>;
  struct Options {
    Post post;
    PollBudget::Limits poll{.longest = std::chrono::microseconds(100)};
    /// A driver broke a queue: called on the control thread.
    std::function<void(const Error&)> on_broken;
  };

  explicit QueueSet(Options options);
  /// As stop_and_wait(true).
  ~QueueSet();
  QueueSet(const QueueSet&) = delete;
  QueueSet& operator=(const QueueSet&) = delete;

  /// Starts a worker for `queue`, which has none. While the queues are being brought to rest, or
  /// are there, it begins at rest, and resume() has it find its ring as all others. `metrics`
  /// outlives the set; null: nobody wants to know. So does `doorbell`, as QueueWorker::Options has
  /// it. Errors: kSystem.
  Result<void> add(std::uint16_t queue, std::unique_ptr<QueueTask> task,
                   QueueMetrics* metrics = nullptr, const EventFd* doorbell = nullptr);
  /// The driver notified `queue`; nothing happens if that does not run.
  void notify(std::uint16_t queue) const;

  /// Brings every queue to rest with nothing in flight; then calls `paused`. Memory that queues use
  /// may be changed until resume(), which has every queue find its ring again: one that can't stays
  /// at rest until a later resume().
  void pause(std::function<void()> paused);
  void resume();

  /// Ends one queue when what is in flight has finished, writes nothing more to its ring, and calls
  /// `stopped`: it may be added again then. At once if it does not run.
  void stop_one(std::uint16_t queue, std::function<void()> stopped);

  /// Ends every queue, when what is in flight has finished; with `discard` nothing more is written
  /// to the rings. Then calls `stopped`. Operations given while another is under way follow it.
  void stop(bool discard, std::function<void()> stopped);
  /// The same at once: waits for I/O. For when there is nobody left to answer.
  void stop_and_wait(bool discard);

  [[nodiscard]] bool empty() const { return workers_.empty(); }

 private:
  enum class Kind : std::uint8_t { kPause, kStopOne, kStop };
  struct Operation {
    Kind kind = Kind::kPause;
    std::uint16_t queue = 0;  // of kStopOne
    bool discard = false;     // of kStop
    std::function<void()> done;
  };
  void give(Operation operation);
  void next_operation();
  [[nodiscard]] std::size_t concerned(const Operation& operation) const;
  void begin(const Operation& operation);
  void one_finished(std::uint64_t round);
  void finish_first();

  Options options_;
  std::map<std::uint16_t, std::unique_ptr<QueueWorker>> workers_;
  std::deque<Operation> operations_;  // the first one is under way iff waiting_for_ > 0
  std::size_t waiting_for_ = 0;       // workers that have not reported yet
  bool at_rest_ = false;              // paused, and not resumed yet
  std::uint64_t round_ = 0;           // tells reports of this operation from late ones
  std::shared_ptr<QueueSet*> self_;   // what is posted finds null in it once the set is gone
};

}  // namespace airlock::device
