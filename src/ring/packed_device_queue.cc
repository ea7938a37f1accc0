// SPDX-License-Identifier: Apache-2.0
#include "ring/packed_device_queue.h"

#include <algorithm>
#include <utility>

#include "core/packed.h"
#include "ring/areas.h"
#include "ring/barrier.h"

namespace airlock::ring {

namespace {

constexpr std::size_t kBufferIds = 65536;

}  // namespace

Result<PackedDeviceQueue::Views> PackedDeviceQueue::open_views(const QueueConfig& config,
                                                               const window::Window& window) {
  const AreaBytes areas = TRY(open_device_areas(config, window));
  return Views{.ring = PackedDeviceRing(areas.descriptors),
               .driver_event = PackedEventReader(areas.driver),
               .device_event = PackedEventWriter(areas.device)};
}

Result<PackedDeviceQueue> PackedDeviceQueue::create(const QueueConfig& config,
                                                    const window::Window& window) {
  const Views views = TRY(open_views(config, window));
  const auto start = find_start(config, views.ring);
  if (!start) return fail({.code = start.error().code, .queue = config.queue});
  if (config.record) config.record.begin(Format::kPacked, config.size, *start);
  return PackedDeviceQueue(config, window, views, *start);
}

Result<PackedPosition> PackedDeviceQueue::find_start(const QueueConfig& config,
                                                     const PackedDeviceRing& ring) {
  const auto before = TRY(config.record.find(Format::kPacked, config.size));
  if (!before) return PackedPosition();
  // Nobody can have got round the ring to make this one available again in the same lap.
  const std::uint16_t flags = ring.acquire_flags(before->position.slot());
  const bool shown = !airlock_packed_is_available(flags, before->position.wrap());
  return shown ? before->next : before->position;
}

PackedDeviceQueue::PackedDeviceQueue(const QueueConfig& config, const window::Window& window,
                                     const Views& views, PackedPosition start)
    : config_(config),
      window_(&window),
      views_(views),
      walk_(config.size, config.features, window),
      records_(config.size.value()),
      ids_(kBufferIds),
      ordered_(config.features.in_order || config.record),
      free_slots_(config.size.value()),
      next_avail_(start),
      next_used_(start),
      published_used_(start) {
  // The last one's successor is never looked up: there are no more chains than slots.
  for (std::size_t i = 0; i < records_.size(); ++i)
    records_[i].next = static_cast<std::uint16_t>(i + 1);
}

Result<void> PackedDeviceQueue::rebind() {
  if (broken_) return fail({.code = Errc::kQueueBroken, .queue = config_.queue});
  if (in_flight_ != 0) return fail({.code = Errc::kWrongState, .queue = config_.queue});
  views_ = TRY(open_views(config_, *window_));
  return {};
}

Result<std::optional<Head>> PackedDeviceQueue::pop(Chain& target) {
  if (broken_) return fail({.code = Errc::kQueueBroken, .queue = config_.queue});
  if (!find_available()) return std::optional<Head>();
  const auto slots = walk(target);
  if (!slots) return break_with(slots.error());
  target.head_ = keep(*slots, target.writable_bytes());
  next_avail_.advance(*slots, config_.size);
  return std::optional(target.head_);
}

Result<void> PackedDeviceQueue::push_used(Head head, std::uint32_t written_bytes) {
  const std::uint16_t index = std::to_underlying(head);
  CHECK(index < config_.size.value());
  Record& record = records_[index];
  CHECK(record.state == Record::State::kInFlight);
  CHECK(written_bytes <= record.writable_bytes);
  record.state = Record::State::kHeldBack;
  record.written_bytes = written_bytes;
  --in_flight_;
  if (broken_) return fail({.code = Errc::kQueueBroken, .queue = config_.queue});
  if (config_.record) return {};  // publish() touches the ring, and nothing else does
  if (ordered_) {
    put_finished();
  } else {
    put_used(index);
  }
  return {};
}

void PackedDeviceQueue::publish() {
  if (broken_) return;
  if (config_.record) return publish_finished();
  if (!first_) return;
  views_.ring.publish_used(first_->position.slot(), first_->position.wrap(), first_->wrote);
  first_.reset();
  count_published();
}

void PackedDeviceQueue::count_published() {
  published_used_ = next_used_;
  free_slots_ += pushed_slots_;
  unsignalled_slots_ = std::min(unsignalled_slots_ + pushed_slots_, config_.size.value());
  pushed_slots_ = 0;
}

bool PackedDeviceQueue::driver_wants_interrupt() {
  if (broken_ || unsignalled_slots_ == 0) return false;
  const std::uint32_t moved = std::exchange(unsignalled_slots_, 0);
  // Between our store of the used flags and our load of the driver's event. Pairs with the barrier
  // in DriverQueue::want_interrupts(), between its store of that and its load of the used flags.
  full_barrier();
  return packed_wants_event(views_.driver_event.snapshot(), config_.features.event_idx,
                            published_used_, moved, config_.size);
}

void PackedDeviceQueue::suppress_notifications(bool suppressed) {
  if (broken_) return;
  suppressed_ = suppressed;
  if (!suppressed) return ask_for_notification();
  event_.reset();
  views_.device_event.put({.flags = spec::RING_EVENT_FLAGS_DISABLE});
}

void PackedDeviceQueue::ask_for_notification() {
  if (config_.features.event_idx) {
    event_ = next_avail_;
    views_.device_event.put(
        {.off_wrap = next_avail_.off_wrap(), .flags = spec::RING_EVENT_FLAGS_DESC});
  } else {
    views_.device_event.put({.flags = spec::RING_EVENT_FLAGS_ENABLE});
  }
  // Between our store of the event and the load of the next descriptor's flags that must follow, in
  // pop(). Pairs with the barrier in DriverQueue::publish(), between its store of those and its
  // load of the event.
  full_barrier();
}

// Reads the flags of the next descriptor: whether it is available.
bool PackedDeviceQueue::look() {
  // Pairs with the driver's release of the flags: what it wrote before is visible.
  flags_ = views_.ring.acquire_flags(next_avail_.slot());
  return airlock_packed_is_available(flags_, next_avail_.wrap());
}

// The same, but doesn't say no before the driver knows what we wait for.
bool PackedDeviceQueue::find_available() {
  if (look()) return true;
  if (!config_.features.event_idx || suppressed_ || event_ == next_avail_) return false;
  // Chains were taken since we asked: what we asked for has come, and we must ask again.
  ask_for_notification();
  return look();
}

std::unexpected<Error> PackedDeviceQueue::break_with(Error error) {
  error.queue = config_.queue;
  broken_ = error;
  return fail(error);
}

// Reads the chain that starts with the next descriptor, whose flags were read: how many slots it
// takes.
Result<std::uint32_t> PackedDeviceQueue::walk(Chain& target) {
  bool first = true;
  const auto read = [&](std::uint32_t slot) {
    const airlock_descriptor descriptor = std::exchange(first, false)
                                              ? views_.ring.snapshot(slot, flags_)
                                              : views_.ring.snapshot(slot);
    id_ = descriptor.next;  // the last one's counts: VIRTIO 1.3, 2.8.6
    return descriptor;
  };
  const std::uint32_t slots = TRY(walk_.walk(next_avail_.slot(), target, read));
  if (slots > free_slots_) return fail({.code = Errc::kChainTooLong, .detail = slots});
  if (ids_[id_]) return fail({.code = Errc::kAlreadyInFlight, .detail = id_});
  return slots;
}

// Gives the chain that was last read a record. There is a free one: each that is taken stands for a
// slot at least, and the chain's own slots were free.
Head PackedDeviceQueue::keep(std::uint32_t slots, std::uint32_t writable_bytes) {
  const std::uint16_t index = first_free_;
  Record& record = records_[index];
  first_free_ = record.next;
  record.writable_bytes = writable_bytes;
  record.id = id_;
  record.slots = static_cast<std::uint16_t>(slots);
  record.state = Record::State::kInFlight;
  if (ordered_) {
    (taken_ == 0 ? oldest_ : records_[newest_].next) = index;
    newest_ = index;
  }
  ids_[id_] = true;
  free_slots_ -= slots;
  ++taken_;
  ++in_flight_;
  return Head{index};
}

// Writes the used descriptor of a chain, and forgets the chain.
void PackedDeviceQueue::put_used(std::uint16_t index) {
  const Record& record = records_[index];
  const bool wrote = record.written_bytes != 0;
  views_.ring.put_used(next_used_.slot(), {.id = record.id, .length = record.written_bytes});
  if (first_) {
    views_.ring.mark_used(next_used_.slot(), next_used_.wrap(), wrote);
  } else {
    first_ = First{.position = next_used_, .wrote = wrote};
  }
  release(index);
}

// Forgets a chain whose used descriptor is written.
void PackedDeviceQueue::release(std::uint16_t index) {
  Record& record = records_[index];
  next_used_.advance(record.slots, config_.size);
  pushed_slots_ += record.slots;
  ids_[record.id] = false;
  --taken_;
  record.state = Record::State::kFree;
  record.next = first_free_;
  first_free_ = index;
}

bool PackedDeviceQueue::oldest_is_done() const {
  return taken_ != 0 && records_[oldest_].state == Record::State::kHeldBack;
}

// In order: the oldest chains, as far as they are pushed. Each gets a used descriptor, though one
// for all of them would do: so the driver learns the length of each. VIRTIO 1.3, 2.8.8.
void PackedDeviceQueue::put_finished() {
  while (oldest_is_done()) {
    const std::uint16_t next = records_[oldest_].next;
    put_used(oldest_);
    oldest_ = next;
  }
}

// With a record: the oldest chains, as far as they are pushed. A used descriptor overwrites the
// first one of its chain, of which a process that takes our place could make nothing if it were
// half there; and where it is there, that process has to know where the next one goes.
void PackedDeviceQueue::publish_finished() {
  while (oldest_is_done()) {
    const std::uint16_t index = oldest_;
    const Record& record = records_[index];
    oldest_ = record.next;
    PackedPosition next = next_used_;
    next.advance(record.slots, config_.size);
    config_.record.advance(next_used_, next);
    // Release: the record comes first.
    views_.ring.publish_whole(next_used_.slot(), {.id = record.id, .length = record.written_bytes},
                              next_used_.wrap());
    release(index);
  }
  count_published();
}

}  // namespace airlock::ring
