// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <optional>
#include <span>

#include "base/event_fd.h"
#include "compare/access.h"
#include "ring/driver_queue.h"

namespace airlock::compare {

/// A queue of a driver of the rig's: its ring, and how it and the device wake each other. It trusts
/// the device as little as the production's drivers do: ring::DriverQueue checks. One thread.
class RigQueue {
 public:
  /// In coherent memory of `access`, which outlives it. Errors: the model's, the ring's, kSystem.
  static Result<RigQueue> create(Access& access);

  /// What the device is told, of a queue without encryption.
  [[nodiscard]] QueueLink link(std::uint64_t features) const;

  [[nodiscard]] ring::DriverQueue& ring() { return ring_; }
  [[nodiscard]] const ring::DriverQueue& ring() const { return ring_; }
  /// Shows the device what was submitted, and notifies it if it wants that.
  void kick();
  /// Whether take() has something. Errors: the ring's, for good.
  Result<bool> look();
  /// The next completion; nothing if there is none now. Errors: the ring's, for good.
  Result<std::optional<ring::Completion>> take();
  [[nodiscard]] std::uint64_t notifications() const { return notifications_; }

  /// Waits until one of the queues, two at most, has something to take: looks for a while, then
  /// sleeps. Errors: kTimeout; the rings'.
  static Result<void> wait(std::span<RigQueue* const> queues, std::chrono::milliseconds timeout);

 private:
  RigQueue(ring::DriverQueue ring, EventFd notify, EventFd interrupt)
      : ring_(std::move(ring)), notify_(std::move(notify)), interrupt_(std::move(interrupt)) {}

  ring::DriverQueue ring_;
  EventFd notify_;
  EventFd interrupt_;
  std::optional<ring::Completion> found_;  // by look(), for take()
  std::uint64_t notifications_ = 0;
};

}  // namespace airlock::compare
