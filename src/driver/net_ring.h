// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include "driver/deadline.h"
#include "driver/net_stats.h"
#include "driver/queue.h"
#include "driver/spin_window.h"
#include "driver/virtio_device.h"

namespace airlock::driver {

/// What the queues of a network card have in common: the ring, the first lie that breaks it
/// (HD-23), and how it is waited for. One thread at a time.
class NetRing {
 public:
  /// Begins detached. `device` outlives it. `spin`: before a wait goes to sleep, see SpinWindow.
  NetRing(VirtioDevice& device, std::chrono::microseconds spin) : device_(device), spin_(spin) {}

  [[nodiscard]] VirtioDevice& device() { return device_; }
  [[nodiscard]] ring::DriverQueue& ring() { return queue_->ring(); }
  /// What every message is sealed and opened with; null where the queue is not encrypted.
  [[nodiscard]] crypt::QueueCipher* cipher() { return queue_->cipher(); }
  [[nodiscard]] bool attached() const { return queue_ != nullptr; }
  [[nodiscard]] bool usable() const { return queue_ != nullptr && !broken_; }
  [[nodiscard]] const std::optional<Error>& broken() const { return broken_; }
  [[nodiscard]] NetCounters& counters() { return counters_; }
  [[nodiscard]] const NetCounters& counters() const { return counters_; }

  /// The queue is unusable until begin(): what it needs may not be there yet.
  void attach(std::unique_ptr<Queue> queue);
  void begin();
  /// Starts no more: for a reset, or because the device is gone.
  void stop(const Error& error);
  /// The device lies: it is given up, and the queue with it.
  void stop_device(const Error& error);
  /// The device must be reset, or gone.
  void detach() { queue_.reset(); }

  /// What the device returned next; false: nothing, or it is broken now.
  bool take(ring::Completion& target);
  /// Shows the device what was submitted.
  void kick();

  /// Waits until `look` says so; it may use the queue. Errors: kTimeout, and why it is broken.
  Result<void> wait(const std::function<bool()>& look, const Deadline& deadline);

  /// As BlkQueue has them.
  [[nodiscard]] int interrupt_fd() const { return queue_ ? queue_->interrupt_fd() : -1; }
  void arm();
  void disarm();

 private:
  void sleep(const std::function<bool()>& look, const Deadline& deadline, unsigned round);

  VirtioDevice& device_;
  std::unique_ptr<Queue> queue_;
  SpinWindow spin_;
  bool notified_ = false;  // and nothing came back since
  std::optional<Error> broken_;
  NetCounters counters_;
};

}  // namespace airlock::driver
