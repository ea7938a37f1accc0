// SPDX-License-Identifier: Apache-2.0
#include "compare/rig_queue.h"

#include <poll.h>

#include <utility>
#include <vector>

#include "base/relax.h"
#include "compare/rig_driver.h"

namespace airlock::compare {

namespace {

using QueueClock = RigDriver::Clock;

// How long a wait looks at the rings before it sleeps.
constexpr std::chrono::microseconds kSpin{50};

Result<bool> look_at_any(std::span<RigQueue* const> queues) {
  for (RigQueue* const queue : queues) {
    if (TRY(queue->look())) return true;
  }
  return false;
}

}  // namespace

Result<RigQueue> RigQueue::create(Access& access) {
  const ring::QueueSize size = TRY(ring::QueueSize::from(RigDriver::kQueueSize));
  const ring::Layout layout(size);
  const window::RegionOffset block = TRY(access.allocate_coherent(layout.block_bytes()));
  const ring::DriverQueueConfig config{
      .size = size, .areas = layout.block_at(block), .publisher = access.publisher()};
  auto ring = TRY(ring::DriverQueue::create(config, access.memory()));
  ring.want_interrupts(false);
  EventFd notify = TRY(EventFd::create_shared());
  EventFd interrupt = TRY(EventFd::create_shared());
  return RigQueue(std::move(ring), std::move(notify), std::move(interrupt));
}

QueueLink RigQueue::link(std::uint64_t features) const {
  return {.start = {.features = features,
                    .size = RigDriver::kQueueSize,
                    .areas = ring_.published_areas()},
          .bells = {.notify = notify_.fd(), .interrupt = interrupt_.fd()}};
}

void RigQueue::kick() {
  if (!ring_.publish()) return;
  ++notifications_;
  notify_.signal();
}

Result<bool> RigQueue::look() {
  if (found_) return true;
  ring::Completion completion;
  if (!TRY(ring_.poll(completion))) return false;
  found_ = completion;
  return true;
}

Result<std::optional<ring::Completion>> RigQueue::take() {
  static_cast<void>(TRY(look()));
  return std::exchange(found_, std::nullopt);
}

Result<void> RigQueue::wait(std::span<RigQueue* const> queues, std::chrono::milliseconds timeout) {
  const auto spin_end = QueueClock::now() + kSpin;
  do {
    if (TRY(look_at_any(queues))) return {};
    relax();
  } while (QueueClock::now() < spin_end);
  const auto end = QueueClock::now() + timeout;
  std::vector<pollfd> watched;
  watched.reserve(queues.size());
  for (RigQueue* const queue : queues) {
    queue->ring_.want_interrupts(true);
    watched.push_back({.fd = queue->interrupt_.fd(), .events = POLLIN, .revents = 0});
  }
  Result<bool> there = look_at_any(queues);
  while (there && !*there) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - QueueClock::now());
    if (left.count() <= 0) {
      there = fail({.code = Errc::kTimeout, .detail = static_cast<std::uint32_t>(timeout.count())});
      break;
    }
    static_cast<void>(::poll(watched.data(), watched.size(), static_cast<int>(left.count())));
    for (const RigQueue* const queue : queues)
      static_cast<void>(queue->interrupt_.drain());
    there = look_at_any(queues);
  }
  for (RigQueue* const queue : queues)
    queue->ring_.want_interrupts(false);
  if (!there) return fail(there.error());
  return {};
}

}  // namespace airlock::compare
