// SPDX-License-Identifier: Apache-2.0
#include "ring/split_device_queue.h"

#include "core/descriptor.h"
#include "core/used.h"
#include "ring/areas.h"
#include "ring/barrier.h"
#include "ring/verdict.h"

namespace airlock::ring {

Result<SplitDeviceQueue::Views> SplitDeviceQueue::open_views(const QueueConfig& config,
                                                             const window::Window& window) {
  const AreaBytes areas = TRY(open_device_areas(config, window));
  return Views{.descriptors = DescriptorReader(areas.descriptors),
               .avail = AvailReader(areas.driver),
               .used = UsedWriter(areas.device)};
}

Result<SplitDeviceQueue> SplitDeviceQueue::create(const QueueConfig& config,
                                                  const window::Window& window) {
  return SplitDeviceQueue(config, window, TRY(open_views(config, window)));
}

SplitDeviceQueue::SplitDeviceQueue(const QueueConfig& config, const window::Window& window,
                                   const Views& views)
    : config_(config),
      window_(&window),
      views_(views),
      walk_(config.size, config.features, window),
      records_(config.size.value()) {}

Result<void> SplitDeviceQueue::rebind() {
  if (broken_) return fail({.code = Errc::kQueueBroken, .queue = config_.queue});
  if (in_flight_ != 0) return fail({.code = Errc::kWrongState, .queue = config_.queue});
  views_ = TRY(open_views(config_, *window_));
  return {};
}

Result<std::optional<Head>> SplitDeviceQueue::pop(Chain& target) {
  if (broken_) return fail({.code = Errc::kQueueBroken, .queue = config_.queue});
  if (next_avail_ == seen_avail_) {
    // Pairs with the driver's release of avail.idx: what it wrote before is visible.
    const RingIndex now = views_.avail.acquire_index();
    if (now == seen_avail_) return std::optional<Head>();
    const airlock_verdict verdict =
        airlock_check_index_advance(seen_avail_.value(), now.value(), config_.size.value());
    if (verdict != AIRLOCK_OK) {
      return break_with({.code = to_errc(verdict), .detail = now.value()});
    }
    seen_avail_ = now;
  }
  const auto head = next_head();
  if (!head) return break_with(head.error());
  if (const auto walked = walk(*head, target); !walked) return break_with(walked.error());
  records_[*head] = {.writable_bytes = target.writable_bytes(), .in_flight = true};
  ++in_flight_;
  ++next_avail_;
  return std::optional(Head{*head});
}

Result<void> SplitDeviceQueue::push_used(Head head, std::uint32_t written_bytes) {
  const std::uint16_t id = std::to_underlying(head);
  CHECK(id < config_.size.value());
  Record& record = records_[id];
  CHECK(record.in_flight);
  CHECK(written_bytes <= record.writable_bytes);
  record = {};
  --in_flight_;
  if (broken_) return fail({.code = Errc::kQueueBroken, .queue = config_.queue});
  views_.used.put(next_used_.slot(config_.size), {.id = id, .length = written_bytes});
  ++next_used_;
  return {};
}

void SplitDeviceQueue::publish() {
  if (broken_ || next_used_ == published_used_) return;
  views_.used.publish_index(next_used_);
  published_used_ = next_used_;
}

bool SplitDeviceQueue::driver_wants_interrupt() {
  if (broken_ || published_used_ == signalled_used_) return false;
  signalled_used_ = published_used_;
  // Between our store of used.idx and our load of avail.flags. Pairs with the barrier in
  // DriverQueue::want_interrupts(), between its store of avail.flags and its load of used.idx.
  full_barrier();
  return (views_.avail.flags() & spec::VIRTQ_AVAIL_F_NO_INTERRUPT) == 0;
}

void SplitDeviceQueue::suppress_notifications(bool suppressed) {
  if (broken_) return;
  views_.used.set_flags(suppressed ? spec::VIRTQ_USED_F_NO_NOTIFY : std::uint16_t{0});
  // Between our store of used.flags and the load of avail.idx in the pop() that must follow. Pairs
  // with the barrier in DriverQueue::publish(), between its store of avail.idx and its load of
  // used.flags.
  if (!suppressed) full_barrier();
}

std::unexpected<Error> SplitDeviceQueue::break_with(Error error) {
  error.queue = config_.queue;
  broken_ = error;
  return fail(error);
}

Result<std::uint16_t> SplitDeviceQueue::next_head() const {
  const std::uint16_t head = views_.avail.head(next_avail_.slot(config_.size));
  const airlock_verdict verdict = airlock_check_index(head, config_.size.value());
  if (verdict != AIRLOCK_OK) return fail({.code = to_errc(verdict), .detail = head});
  if (records_[head].in_flight) return fail({.code = Errc::kAlreadyInFlight, .detail = head});
  return head;
}

Result<void> SplitDeviceQueue::walk(std::uint16_t head, Chain& target) {
  TRY(walk_.walk(head, target,
                 [this](std::uint32_t index) { return views_.descriptors.snapshot(index); }));
  target.head_ = Head{head};
  return {};
}

}  // namespace airlock::ring
