// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>
#include <variant>

#include "ring/concepts.h"
#include "ring/packed_driver_queue.h"
#include "ring/split_driver_queue.h"

namespace airlock::ring {

/// The driver's half of a queue in the negotiated format: drivers use this, and don't know which.
/// What each call promises, see SplitDriverQueue. One thread at a time.
class DriverQueue {
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
  /// Errors: those of the two formats' create().
  static Result<DriverQueue> create(const DriverQueueConfig& config,
                                    const shm::SharedBytes& region) {
    if (config.features.format == Format::kPacked) {
      return DriverQueue(TRY(PackedDriverQueue::create(config, region)));
    }
    return DriverQueue(TRY(SplitDriverQueue::create(config, region)));
  }

  [[nodiscard]] QueueAreas published_areas() const {
    return with([](const auto& queue) { return queue.published_areas(); });
  }
  [[nodiscard]] Result<Token> submit(std::span<const Buffer> readable,
                                     std::span<const Buffer> writable, std::uint64_t cookie) {
    return with([&](auto& queue) { return queue.submit(readable, writable, cookie); });
  }
  [[nodiscard]] bool publish() {
    return with([](auto& queue) { return queue.publish(); });
  }
  [[nodiscard]] Result<std::optional<Completion>> poll() {
    return with([](auto& queue) { return queue.poll(); });
  }
  [[nodiscard]] Result<bool> poll(Completion& target) {
    return with([&](auto& queue) { return queue.poll(target); });
  }
  void want_interrupts(bool wanted) {
    with([=](auto& queue) { queue.want_interrupts(wanted); });
  }
  void abandon() {
    with([](auto& queue) { queue.abandon(); });
  }
  [[nodiscard]] std::optional<Outstanding> take_outstanding() {
    return with([](auto& queue) { return queue.take_outstanding(); });
  }
  [[nodiscard]] std::uint32_t slots_for(std::uint32_t buffers) const {
    return with([=](const auto& queue) { return queue.slots_for(buffers); });
  }
  [[nodiscard]] std::uint32_t free_slots() const {
    return with([](const auto& queue) { return queue.free_slots(); });
  }
  [[nodiscard]] std::uint32_t notification_data() const {
    return with([](const auto& queue) { return queue.notification_data(); });
  }
  [[nodiscard]] std::uint32_t outstanding() const {
    return with([](const auto& queue) { return queue.outstanding(); });
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
  explicit DriverQueue(SplitDriverQueue queue) : queue_(std::move(queue)) {}
  explicit DriverQueue(PackedDriverQueue queue) : queue_(std::move(queue)) {}

  std::variant<SplitDriverQueue, PackedDriverQueue> queue_;
};

static_assert(DriverQueueLike<SplitDriverQueue> && DriverQueueLike<PackedDriverQueue> &&
              DriverQueueLike<DriverQueue>);

}  // namespace airlock::ring
