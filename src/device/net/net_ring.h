// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include "device/device_type.h"
#include "ring/device_queue.h"

namespace airlock::device {

/// The ring of a network queue, whatever its kind, and the driver behind it, who is told of used
/// buffers. One thread at a time.
class NetRing {
 public:
  /// Errors: those of ring::DeviceQueue::create(), kBadQueueSize.
  static Result<NetRing> open(const QueueContext& context);

  /// Takes a chain, if there is one. Errors, for good: those of ring::DeviceQueue::pop().
  Result<bool> take(ring::Chain& target);
  /// Returns a chain; the driver sees it at the next show(). Nothing happens on a broken ring.
  void give_back(const ring::Chain& chain, std::uint32_t written_bytes);
  /// Shows the driver what was given back, and interrupts it if it wants that.
  void show();
  void ask_for_notifications(bool wanted) { queue_.suppress_notifications(!wanted); }

  /// The driver broke a rule: take() fails from now on. Gives the error back, with the queue.
  std::unexpected<Error> break_with(Error error);
  /// The ring is not the device's any more: nothing is written to it, and no chain is owed.
  void abandon() {
    usable_ = false;
    abandoned_ = true;
  }
  [[nodiscard]] bool usable() const { return usable_; }
  /// What a task says that is asked to poll an unusable ring.
  [[nodiscard]] std::unexpected<Error> unusable() const {
    return fail({.code = Errc::kQueueBroken, .queue = queue()});
  }
  /// Errors: kQueueBroken once it was broken or abandoned; those of ring::DeviceQueue::rebind().
  [[nodiscard]] Result<void> rebind();

  [[nodiscard]] std::uint16_t queue() const { return queue_.queue(); }
  [[nodiscard]] std::uint32_t size() const { return queue_.size().value(); }
  /// Chains taken and not given back.
  [[nodiscard]] std::size_t in_flight() const { return abandoned_ ? 0 : queue_.in_flight(); }

 private:
  NetRing(ring::DeviceQueue queue, std::function<void()> interrupt)
      : queue_(std::move(queue)), interrupt_(std::move(interrupt)) {}

  ring::DeviceQueue queue_;
  std::function<void()> interrupt_;
  bool usable_ = true;
  bool abandoned_ = false;
  bool unshown_ = false;  // used elements that the driver does not see yet
};

}  // namespace airlock::device
