// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>
#include <variant>

#include "ring/concepts.h"
#include "ring/packed_device_queue.h"
#include "ring/sealed_device_queue.h"
#include "ring/split_device_queue.h"

namespace airlock::ring {

/// The device's half of a queue in the negotiated format, encrypted or not: device types use this,
/// and don't know which. What each call promises, see SplitDeviceQueue. One thread at a time.
class DeviceQueue {
  // Above what uses it, since its return type is deduced.
  template <class F>
  decltype(auto) with(const F& call) {
    return std::visit(call, queue_);
  }
  template <class F>
  decltype(auto) with(const F& call) const {
    return std::visit(call, queue_);
  }

 public:
  /// Errors: those of the two formats' create(), of SealedDeviceQueue::create() with a secret.
  static Result<DeviceQueue> create(const QueueConfig& config, const window::Window& window) {
    if (config.secret) return DeviceQueue(TRY(SealedDeviceQueue::create(config, window)));
    if (config.features.format == Format::kPacked) {
      return DeviceQueue(TRY(PackedDeviceQueue::create(config, window)));
    }
    return DeviceQueue(TRY(SplitDeviceQueue::create(config, window)));
  }

  [[nodiscard]] Result<std::optional<Head>> pop(Chain& target) {
    return with([&](auto& queue) { return queue.pop(target); });
  }
  Result<void> push_used(Head head, std::uint32_t written_bytes) {
    return with([&](auto& queue) { return queue.push_used(head, written_bytes); });
  }
  void publish() {
    with([](auto& queue) { queue.publish(); });
  }
  [[nodiscard]] bool driver_wants_interrupt() {
    return with([](auto& queue) { return queue.driver_wants_interrupt(); });
  }
  void suppress_notifications(bool suppressed) {
    with([=](auto& queue) { queue.suppress_notifications(suppressed); });
  }
  Result<void> rebind() {
    return with([](auto& queue) { return queue.rebind(); });
  }
  [[nodiscard]] std::uint32_t in_flight() const {
    return with([](const auto& queue) { return queue.in_flight(); });
  }
  [[nodiscard]] const std::optional<Error>& broken() const {
    return with([](const auto& queue) -> const std::optional<Error>& { return queue.broken(); });
  }
  [[nodiscard]] std::uint16_t queue() const {
    return with([](const auto& queue) { return queue.queue(); });
  }
  [[nodiscard]] QueueSize size() const {
    return with([](const auto& queue) { return queue.size(); });
  }

 private:
  explicit DeviceQueue(SplitDeviceQueue queue) : queue_(std::move(queue)) {}
  explicit DeviceQueue(PackedDeviceQueue queue) : queue_(std::move(queue)) {}
  explicit DeviceQueue(SealedDeviceQueue queue) : queue_(std::move(queue)) {}

  std::variant<SplitDeviceQueue, PackedDeviceQueue, SealedDeviceQueue> queue_;
};

static_assert(DeviceQueueLike<SplitDeviceQueue> && DeviceQueueLike<PackedDeviceQueue> &&
              DeviceQueueLike<DeviceQueue>);

}  // namespace airlock::ring
