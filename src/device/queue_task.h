// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>

#include "base/result.h"

namespace airlock::device {

/// What a device type does for one queue. The worker that owns the queue drives it: every call
/// comes from that worker's thread, none may block.
class QueueTask {
 public:
  QueueTask() = default;
  virtual ~QueueTask() = default;
  QueueTask(const QueueTask&) = delete;
  QueueTask& operator=(const QueueTask&) = delete;

  /// Takes what is new (a bounded batch): chains that the driver made available, I/O that finished.
  /// Returns used elements and interrupts where the driver wants them. True if anything was done.
  /// Errors: the driver broke a rule of the ring; the queue is to be used no more.
  virtual Result<bool> poll() = 0;

  /// Asks the driver for notifications (true) or spares it them (false) while the worker polls
  /// anyway. After asking, the worker polls once more: a chain may have come before the driver saw
  /// the request.
  virtual void want_notifications(bool wanted) = 0;

  /// There has been nothing to do for `idle`, or the worker is about not to look for so long. What
  /// the task holds back in the hope that more comes to go with it (an interrupt) goes if that has
  /// taken too long; with Duration::max(), before each sleep, at once.
  virtual void idle_for(std::chrono::nanoseconds idle) = 0;

  /// A descriptor that is readable when finished I/O waits for poll(); -1 if there is none ever.
  [[nodiscard]] virtual int completion_fd() const = 0;

  /// Requests taken from the ring and not yet returned.
  [[nodiscard]] virtual std::size_t in_flight() const = 0;

  /// Takes finished I/O and nothing new: for a reset or the end of the process, until in_flight()
  /// is 0. With `discard` the ring is no longer the device's to write (reset): nothing is returned
  /// to it.
  virtual void drain(bool discard) = 0;

  /// While nothing is in flight and the worker is paused, from the control thread: the window's
  /// memory has changed, find the ring's areas in it again. Errors: they are not there (the queue
  /// then stays paused, until a later call finds them).
  [[nodiscard]] virtual Result<void> rebind() = 0;
};

}  // namespace airlock::device
