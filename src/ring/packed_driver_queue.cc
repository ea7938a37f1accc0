// SPDX-License-Identifier: Apache-2.0
#include "ring/packed_driver_queue.h"

#include <utility>

#include "core/packed.h"
#include "core/used.h"
#include "ring/areas.h"
#include "ring/barrier.h"
#include "ring/clamp_index.h"
#include "ring/request_check.h"
#include "ring/request_descriptors.h"
#include "ring/verdict.h"

namespace airlock::ring {

namespace {

// How much the device says that it wrote. Without WRITE the length is reserved and can't be a lie:
// it is nothing, unless it could be true, for the devices that mean it all the same.
// VIRTIO 1.3, 2.8.3, 2.8.4.
std::uint32_t reported_bytes(const PackedUsed& used, std::uint16_t flags,
                             std::uint32_t writable_bytes) {
  const bool wrote = (flags & spec::VIRTQ_DESC_F_WRITE) != 0;
  return wrote || used.length <= writable_bytes ? used.length : 0;
}

}  // namespace

Result<PackedDriverQueue> PackedDriverQueue::create(const DriverQueueConfig& config,
                                                    const shm::SharedBytes& region) {
  const AreaBytes areas = TRY(open_driver_areas(config, region));
  const shm::SharedBytes tables = TRY(open_tables(config, region));
  return PackedDriverQueue(config, region.size(),
                           {.ring = PackedDriverRing(areas.descriptors),
                            .tables = PackedTableWriter(tables),
                            .driver_event = PackedEventWriter(areas.driver),
                            .device_event = PackedEventReader(areas.device)});
}

PackedDriverQueue::PackedDriverQueue(const DriverQueueConfig& config, std::uint64_t region_bytes,
                                     const Views& views)
    : config_(config),
      region_bytes_(region_bytes),
      views_(views),
      records_(config.size.value()),
      free_slots_(config.size.value()) {
  // The last one's successor is never looked up: there are no more requests than slots.
  for (std::size_t i = 0; i < records_.size(); ++i)
    records_[i].next = static_cast<std::uint16_t>(i + 1);
}

QueueAreas PackedDriverQueue::published_areas() const {
  return {.descriptors = config_.publisher.publish(config_.areas.descriptors),
          .driver = config_.publisher.publish(config_.areas.driver),
          .device = config_.publisher.publish(config_.areas.device)};
}

Result<Token> PackedDriverQueue::submit(std::span<const Buffer> readable,
                                        std::span<const Buffer> writable, std::uint64_t cookie) {
  if (broken_) return fail({.code = Errc::kQueueBroken, .queue = config_.queue});
  const std::uint32_t writable_bytes =
      TRY(check_request(config_, region_bytes_, readable, writable));
  const auto count = static_cast<std::uint32_t>(readable.size() + writable.size());
  const bool in_table = config_.needs_table(count, free_slots_);
  const std::uint32_t slots = in_table ? 1 : count;
  if (slots > free_slots_) return fail({.code = Errc::kQueueFull, .queue = config_.queue});
  const std::uint16_t id = first_free_;
  first_free_ = records_[id].next;
  if (in_table) {
    put_table(id, readable, writable);
  } else {
    put_chain(id, readable, writable);
  }
  records_[id] = {.cookie = cookie,
                  .sequence = submitted_,
                  .writable_bytes = writable_bytes,
                  .slots = static_cast<std::uint16_t>(slots),
                  .outstanding = true};
  if (config_.features.in_order) {
    (outstanding_ == 0 ? oldest_ : records_[newest_].next) = id;
    newest_ = id;
  }
  next_avail_.advance(slots, config_.size);
  unpublished_slots_ += slots;
  free_slots_ -= slots;
  ++submitted_;
  ++outstanding_;
  return Token{id};
}

bool PackedDriverQueue::publish() {
  if (broken_ || !first_) return false;
  views_.ring.publish_flags(first_->slot, first_->flags);
  first_.reset();
  published_ = submitted_;
  const std::uint32_t moved = std::exchange(unpublished_slots_, 0);
  // Between our store of the flags and our load of the device's event. Pairs with the barrier in
  // DeviceQueue::suppress_notifications(), between its store of that and its load of the flags.
  full_barrier();
  // Any value is legal: it decides on a notification and nothing else (HD-21).
  return packed_wants_event(views_.device_event.snapshot(), config_.features.event_idx, next_avail_,
                            moved, config_.size);
}

Result<bool> PackedDriverQueue::poll(Completion& target) {
  if (broken_) return fail({.code = Errc::kQueueBroken, .queue = config_.queue});
  if (batch_.left == 0) {
    if (!find_used()) return false;
    if (const auto taken = take_used(); !taken) return break_with(taken.error());
  }
  const bool last = --batch_.left == 0;
  const std::uint16_t id = last ? batch_.last : oldest_;
  const Record& record = records_[id];
  target.token = Token{id};
  target.cookie = record.cookie;
  target.written_bytes = last ? batch_.written_bytes : record.writable_bytes;
  target.length_reported = last;
  // By our own count of the slots, not by what the ring says (HD-7).
  next_used_.advance(record.slots, config_.size);
  release(id);
  return true;
}

void PackedDriverQueue::want_interrupts(bool wanted) {
  if (broken_) return;
  wanted_ = wanted;
  if (wanted) return ask_for_interrupt();
  event_.reset();
  views_.driver_event.put({.flags = spec::RING_EVENT_FLAGS_DISABLE});
}

void PackedDriverQueue::ask_for_interrupt() {
  if (config_.features.event_idx) {
    event_ = next_used_;
    views_.driver_event.put(
        {.off_wrap = next_used_.off_wrap(), .flags = spec::RING_EVENT_FLAGS_DESC});
  } else {
    views_.driver_event.put({.flags = spec::RING_EVENT_FLAGS_ENABLE});
  }
  // Between our store of the event and the load of the used flags that must follow, in poll().
  // Pairs with the barrier in DeviceQueue::driver_wants_interrupt(), between its store of those and
  // its load of the event.
  full_barrier();
}

void PackedDriverQueue::abandon() {
  if (!broken_) broken_ = Error{.code = Errc::kQueueBroken, .queue = config_.queue};
}

std::optional<Outstanding> PackedDriverQueue::take_outstanding() {
  CHECK(broken_);
  for (; next_taken_ < config_.size.value(); ++next_taken_) {
    const Record& record = records_[next_taken_];
    if (!record.outstanding) continue;
    const auto id = static_cast<std::uint16_t>(next_taken_);
    const Outstanding taken = {.token = Token{id}, .cookie = record.cookie};
    release(id);
    return taken;
  }
  return std::nullopt;
}

std::unexpected<Error> PackedDriverQueue::break_with(Error error) {
  error.queue = config_.queue;
  broken_ = error;
  return fail(error);
}

// Makes a descriptor available, once the first one of all that is not published yet is.
void PackedDriverQueue::put(PackedPosition position, const airlock_descriptor& descriptor) {
  if (first_) {
    views_.ring.put(position.slot(), descriptor, position.wrap());
  } else {
    views_.ring.put_body(position.slot(), descriptor);
    first_ = First{.slot = position.slot(),
                   .flags = PackedDriverRing::available_flags(descriptor, position.wrap())};
  }
}

void PackedDriverQueue::put_chain(std::uint16_t id, std::span<const Buffer> readable,
                                  std::span<const Buffer> writable) {
  const std::size_t count = readable.size() + writable.size();
  PackedPosition position = next_avail_;
  for_each_descriptor(config_.publisher, readable, writable,
                      [&](std::uint32_t index, airlock_descriptor descriptor) {
                        if (index + 1 < count) descriptor.flags |= spec::VIRTQ_DESC_F_NEXT;
                        descriptor.next = id;
                        put(position, descriptor);
                        position.advance(1, config_.size);
                      });
}

void PackedDriverQueue::put_table(std::uint16_t id, std::span<const Buffer> readable,
                                  std::span<const Buffer> writable) {
  const std::uint32_t first = std::uint32_t{id} * config_.tables.entries;
  const std::size_t count = readable.size() + writable.size();
  for_each_descriptor(config_.publisher, readable, writable,
                      [&](std::uint32_t index, const airlock_descriptor& descriptor) {
                        views_.tables.put(first + index, descriptor);
                      });
  const window::RegionOffset table{std::to_underlying(config_.tables.start) +
                                   std::uint64_t{first} * AIRLOCK_DESC_BYTES};
  put(next_avail_, {.address = std::to_underlying(config_.publisher.publish(table)),
                    .length = static_cast<std::uint32_t>(count * AIRLOCK_DESC_BYTES),
                    .flags = spec::VIRTQ_DESC_F_INDIRECT,
                    .next = id});
}

// Reads the flags of the next used descriptor: whether it is one. HD-5: by our own wrap counter.
bool PackedDriverQueue::look() {
  // Pairs with the device's release of the flags: what it wrote before is visible.
  flags_ = views_.ring.acquire_flags(next_used_.slot());
  return airlock_packed_is_used(flags_, next_used_.wrap());
}

// The same, but doesn't say no before the device knows what we wait for.
bool PackedDriverQueue::find_used() {
  if (look()) return true;
  if (!config_.features.event_idx || !wanted_ || event_ == next_used_) return false;
  // Requests were completed since we asked: what we asked for has come, and we must ask again.
  ask_for_interrupt();
  return look();
}

// The next used descriptor, whose flags were read: the rest is read once and checked. What it
// returns is in batch_ then.
Result<void> PackedDriverQueue::take_used() {
  const PackedUsed used = views_.ring.used(next_used_.slot());
  if (const auto verdict = airlock_check_used_id(used.id, config_.size.value());
      verdict != AIRLOCK_OK) {
    return fail({.code = to_errc(verdict), .detail = used.id});
  }
  const auto id = static_cast<std::uint16_t>(clamp_index(used.id, config_.size.value()));
  const Record& record = records_[id];
  const std::uint32_t bytes = reported_bytes(used, flags_, record.writable_bytes);
  if (const auto verdict = airlock_check_used_element(
          record.outstanding && record.sequence < published_, bytes, record.writable_bytes);
      verdict != AIRLOCK_OK) {
    return fail({.code = to_errc(verdict),
                 .detail = verdict == AIRLOCK_BAD_LENGTH ? used.length : used.id});
  }
  batch_.last = id;
  batch_.written_bytes = bytes;
  // In order requests end as they were submitted: the oldest is as many back as are outstanding,
  // and all before a published one are published. HD-32.
  batch_.left = config_.features.in_order
                    ? static_cast<std::uint32_t>(record.sequence - (submitted_ - outstanding_) + 1)
                    : 1;
  return {};
}

// Gives an id and its slots back, by our own record of it (HD-6, HD-7).
void PackedDriverQueue::release(std::uint16_t id) {
  Record& record = records_[id];
  if (config_.features.in_order) oldest_ = record.next;
  free_slots_ += record.slots;
  --outstanding_;
  record.outstanding = false;
  record.next = first_free_;
  first_free_ = id;
}

}  // namespace airlock::ring
