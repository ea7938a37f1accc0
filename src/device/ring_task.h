// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

#include "device/device_type.h"
#include "device/queue_task.h"
#include "ring/device_queue.h"

namespace airlock::device {

/// What the task of every queue does with its ring, whatever it does with the chains: it takes
/// them, gives them back, shows and interrupts the driver where that is wanted, and is broken for
/// good by the first broken rule. A device type derives from it and says what serve() does:
///
///     Result<bool> serve() override {
///       bool any = false;
///       for (unsigned i = 0; i < kMyBatch && TRY(take(chain_)); ++i, any = true) {
///         give_back(chain_, ...);
///       }
///       return any;
///     }
///
/// A chain may be kept beyond serve(): what is kept has to be given back, or to need the ring no
/// more, when finish() returns or soon after (as I/O that ends by itself), since a queue can't be
/// brought to rest before. A queue that waits for a peer who may never come (a client, a packet)
/// therefore leaves chains in the ring until there is something for them.
class RingTask : public QueueTask {
 public:
  struct Options {
    /// Larger chains break the queue. 0: a chain may be as large as what it can lie in.
    std::uint64_t chain_bytes_max = 0;
  };

  /// The ring of a queue, in the format and with the features that were negotiated.
  /// Errors: those of ring::DeviceQueue::create(), kBadQueueSize.
  static Result<ring::DeviceQueue> open_ring(const QueueContext& context);

  Result<bool> poll() final;
  void want_notifications(bool wanted) override { ring_.suppress_notifications(!wanted); }
  void idle_for(std::chrono::nanoseconds /*idle*/) override {}  // it holds nothing back
  [[nodiscard]] int completion_fd() const override { return -1; }
  /// Chains that were taken and not given back; none once they have been forgotten. A type whose
  /// I/O goes on after forget() counts that itself.
  [[nodiscard]] std::size_t in_flight() const override {
    return discarding_ ? 0 : ring_.in_flight();
  }
  void drain(bool discard) final;
  [[nodiscard]] Result<void> rebind() final;

 protected:
  RingTask(const QueueContext& context, ring::DeviceQueue ring, Options options);
  RingTask(const QueueContext& context, ring::DeviceQueue ring)
      : RingTask(context, std::move(ring), Options()) {}

  /// A bounded batch of work; true if anything was done. An error breaks the queue.
  virtual Result<bool> serve() = 0;
  /// The queue is to come to rest: take what has finished and nothing new, give back what can be.
  /// Called again whenever completion_fd() is readable, until in_flight() is 0.
  virtual void finish() {}
  /// The ring and its chains are not ours any more: forget them. Called once.
  virtual void forget() {}

  /// Takes the next chain; false if there is none now. Errors: the ring's; kChainTooBig.
  [[nodiscard]] Result<bool> take(ring::Chain& chain);
  /// Returns a chain, of whose writable part the first `written_bytes` were written. The driver
  /// sees it when serve() or finish() returns.
  void give_back(const ring::Chain& chain, std::uint32_t written_bytes);
  /// An error that names this queue: what serve() returns of a chain that breaks a type's rule.
  [[nodiscard]] std::unexpected<Error> broken_rule(Errc code, std::uint32_t detail = 0) const {
    return fail({.code = code, .queue = queue_, .detail = detail});
  }
  [[nodiscard]] std::uint16_t queue() const { return queue_; }
  /// A reset, or a broken rule: nothing is to be given back.
  [[nodiscard]] bool discarding() const { return discarding_; }

 private:
  void show_driver();

  ring::DeviceQueue ring_;
  std::uint16_t queue_;
  std::function<void()> interrupt_;
  std::uint64_t chain_bytes_max_;
  bool broken_ = false;      // for good: chains may be lost to the ring
  bool discarding_ = false;  // the ring and the chains are not ours any more
  bool unshown_ = false;     // used elements that the driver does not see yet
};

}  // namespace airlock::device
