// SPDX-License-Identifier: Apache-2.0
#include "ring/split_device_queue.h"

#include <utility>

#include "core/descriptor.h"
#include "core/event.h"
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
  const Views views = TRY(open_views(config, window));
  const auto before = config.record.find(Format::kSplit, config.size);
  if (!before) return fail({.code = before.error().code, .queue = config.queue});
  // Stored last of each publish(), at once: what stands before it is returned, what stands behind
  // it is not. That the driver did not make more available than fits, pop() checks.
  const RingIndex start = *before ? views.used.index() : RingIndex();
  if (config.record) config.record.begin(Format::kSplit, config.size);
  return SplitDeviceQueue(config, window, views, start);
}

SplitDeviceQueue::SplitDeviceQueue(const QueueConfig& config, const window::Window& window,
                                   const Views& views, RingIndex start)
    : config_(config),
      window_(&window),
      views_(views),
      walk_(config.size, config.features, window),
      records_(config.size.value()),
      ordered_(config.features.in_order || config.record),
      order_(ordered_ ? config.size.value() : 0),
      next_avail_(start),
      seen_avail_(start),
      next_used_(start),
      published_used_(start),
      signalled_used_(start) {}

Result<void> SplitDeviceQueue::rebind() {
  if (broken_) return fail({.code = Errc::kQueueBroken, .queue = config_.queue});
  if (in_flight_ != 0) return fail({.code = Errc::kWrongState, .queue = config_.queue});
  views_ = TRY(open_views(config_, *window_));
  return {};
}

Result<std::optional<Head>> SplitDeviceQueue::pop(Chain& target) {
  if (broken_) return fail({.code = Errc::kQueueBroken, .queue = config_.queue});
  if (next_avail_ == seen_avail_) {
    const auto found = find_available();
    if (!found) return break_with(found.error());
    if (!*found) return std::optional<Head>();
  }
  const auto head = next_head();
  if (!head) return break_with(head.error());
  if (const auto walked = walk(*head, target); !walked) return break_with(walked.error());
  records_[*head] = {.writable_bytes = target.writable_bytes(), .state = Record::State::kInFlight};
  if (ordered_) order_[next_avail_.slot(config_.size)] = *head;
  ++in_flight_;
  ++next_avail_;
  return std::optional(Head{*head});
}

Result<void> SplitDeviceQueue::push_used(Head head, std::uint32_t written_bytes) {
  const std::uint16_t id = std::to_underlying(head);
  CHECK(id < config_.size.value());
  Record& record = records_[id];
  CHECK(record.state == Record::State::kInFlight);
  CHECK(written_bytes <= record.writable_bytes);
  record = {};
  --in_flight_;
  if (broken_) return fail({.code = Errc::kQueueBroken, .queue = config_.queue});
  if (!ordered_) {
    put_used({.id = id, .length = written_bytes});
    return {};
  }
  record = {.written_bytes = written_bytes, .state = Record::State::kHeldBack};
  put_finished();
  return {};
}

void SplitDeviceQueue::publish() {
  if (broken_ || next_used_ == published_used_) return;
  views_.used.publish_index(next_used_);
  published_used_ = next_used_;
}

bool SplitDeviceQueue::driver_wants_interrupt() {
  if (broken_ || published_used_ == signalled_used_) return false;
  const RingIndex before = std::exchange(signalled_used_, published_used_);
  // Between our store of used.idx and our load of avail.flags or used_event. Pairs with the barrier
  // in DriverQueue::want_interrupts(), between its store of those and its load of used.idx.
  full_barrier();
  if (config_.features.event_idx) {
    return airlock_need_event(views_.avail.used_event().value(), published_used_.value(),
                              before.value());
  }
  return (views_.avail.flags() & spec::VIRTQ_AVAIL_F_NO_INTERRUPT) == 0;
}

void SplitDeviceQueue::suppress_notifications(bool suppressed) {
  if (broken_) return;
  suppressed_ = suppressed;
  if (!suppressed) return ask_for_notification();
  if (!config_.features.event_idx) return views_.used.set_flags(spec::VIRTQ_USED_F_NO_NOTIFY);
  // Behind what the driver published: it gets there only when the index has gone round.
  avail_event_ = next_avail_.previous();
  views_.used.set_avail_event(avail_event_);
}

void SplitDeviceQueue::ask_for_notification() {
  if (config_.features.event_idx) {
    avail_event_ = next_avail_;
    views_.used.set_avail_event(avail_event_);
  } else {
    views_.used.set_flags(0);
  }
  // Between our store of used.flags or avail_event and the load of avail.idx that must follow, in
  // pop(). Pairs with the barrier in DriverQueue::publish(), between its store of avail.idx and its
  // load of those.
  full_barrier();
}

// Whether there is an entry to take, when all that we knew of are taken.
Result<bool> SplitDeviceQueue::find_available() {
  // Pairs with the driver's release of avail.idx: what it wrote before is visible.
  RingIndex now = views_.avail.acquire_index();
  if (now == seen_avail_ && config_.features.event_idx && !suppressed_ &&
      avail_event_ != next_avail_) {
    // Chains were taken since we asked: what we asked for has come, and we must ask again.
    ask_for_notification();
    now = views_.avail.acquire_index();
  }
  if (now == seen_avail_) return false;
  const airlock_verdict verdict =
      airlock_check_index_advance(seen_avail_.value(), now.value(), config_.size.value());
  if (verdict != AIRLOCK_OK) return fail({.code = to_errc(verdict), .detail = now.value()});
  seen_avail_ = now;
  return true;
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
  if (records_[head].state != Record::State::kDriver) {
    return fail({.code = Errc::kAlreadyInFlight, .detail = head});
  }
  return head;
}

Result<void> SplitDeviceQueue::walk(std::uint16_t head, Chain& target) {
  TRY(walk_.walk(head, target,
                 [this](std::uint32_t index) { return views_.descriptors.snapshot(index); }));
  target.head_ = Head{head};
  return {};
}

void SplitDeviceQueue::put_used(const UsedElement& element) {
  views_.used.put(next_used_.slot(config_.size), element);
  ++next_used_;
}

// In order: the oldest chains, as far as they are pushed. Each gets an element, though one for all
// of them would do: so the driver learns the length of each. VIRTIO 1.3, 2.7.9.
void SplitDeviceQueue::put_finished() {
  while (next_used_ != next_avail_) {
    const std::uint16_t head = order_[next_used_.slot(config_.size)];
    Record& record = records_[head];
    if (record.state != Record::State::kHeldBack) return;
    put_used({.id = head, .length = record.written_bytes});
    record = {};
  }
}

}  // namespace airlock::ring
