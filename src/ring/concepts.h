// SPDX-License-Identifier: Apache-2.0
//
// What every ring format offers, so that a device type or a driver is written once.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <span>

#include "ring/chain.h"
#include "ring/driver_types.h"
#include "ring/layout.h"
#include "window/window.h"

namespace airlock::ring {

/// The device's half of a queue: see SplitDeviceQueue for what each call promises.
template <class Q>
concept DeviceQueueLike =
    requires(Q queue, const Q constant, const QueueConfig& config, const window::Window& window,
             Chain& chain, Head head, std::uint32_t bytes, bool on) {
      { Q::create(config, window) } -> std::same_as<Result<Q>>;
      { queue.pop(chain) } -> std::same_as<Result<std::optional<Head>>>;
      { queue.push_used(head, bytes) } -> std::same_as<Result<void>>;
      { queue.publish() } -> std::same_as<void>;
      { queue.driver_wants_interrupt() } -> std::same_as<bool>;
      { queue.suppress_notifications(on) } -> std::same_as<void>;
      { queue.rebind() } -> std::same_as<Result<void>>;
      { constant.in_flight() } -> std::same_as<std::uint32_t>;
      { constant.broken() } -> std::same_as<const std::optional<Error>&>;
      { constant.queue() } -> std::same_as<std::uint16_t>;
      { constant.size() } -> std::same_as<QueueSize>;
    };

/// The driver's half of a queue: see SplitDriverQueue for what each call promises.
template <class Q>
concept DriverQueueLike = requires(Q queue, const Q constant, const DriverQueueConfig& config,
                                   const shm::SharedBytes& region, std::span<const Buffer> buffers,
                                   std::uint64_t cookie, std::uint32_t count, bool on) {
  { Q::create(config, region) } -> std::same_as<Result<Q>>;
  { constant.published_areas() } -> std::same_as<QueueAreas>;
  { queue.submit(buffers, buffers, cookie) } -> std::same_as<Result<Token>>;
  { queue.publish() } -> std::same_as<bool>;
  { queue.poll() } -> std::same_as<Result<std::optional<Completion>>>;
  { queue.want_interrupts(on) } -> std::same_as<void>;
  { queue.abandon() } -> std::same_as<void>;
  { queue.take_outstanding() } -> std::same_as<std::optional<Outstanding>>;
  { constant.slots_for(count) } -> std::same_as<std::uint32_t>;
  { constant.free_slots() } -> std::same_as<std::uint32_t>;
  { constant.notification_data() } -> std::same_as<std::uint32_t>;
  { constant.outstanding() } -> std::same_as<std::uint32_t>;
  { constant.broken() } -> std::same_as<const std::optional<Error>&>;
  { constant.queue() } -> std::same_as<std::uint16_t>;
  { constant.size() } -> std::same_as<QueueSize>;
};

}  // namespace airlock::ring
