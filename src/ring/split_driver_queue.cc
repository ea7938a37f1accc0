// SPDX-License-Identifier: Apache-2.0
#include "ring/split_driver_queue.h"

#include <utility>

#include "core/event.h"
#include "core/used.h"
#include "ring/areas.h"
#include "ring/barrier.h"
#include "ring/request_check.h"
#include "ring/request_descriptors.h"
#include "ring/verdict.h"

namespace airlock::ring {

Result<SplitDriverQueue> SplitDriverQueue::create(const DriverQueueConfig& config,
                                                  const shm::SharedBytes& region) {
  const AreaBytes areas = TRY(open_driver_areas(config, region));
  const shm::SharedBytes tables = TRY(open_tables(config, region));
  return SplitDriverQueue(config, region.size(),
                          {.descriptors = DescriptorWriter(areas.descriptors),
                           .tables = DescriptorWriter(tables),
                           .avail = AvailWriter(areas.driver),
                           .used = UsedReader(areas.device)});
}

SplitDriverQueue::SplitDriverQueue(const DriverQueueConfig& config, std::uint64_t region_bytes,
                                   const Views& views)
    : config_(config),
      region_bytes_(region_bytes),
      views_(views),
      records_(config.size.value()),
      next_(config.size.value()),
      order_(config.features.in_order ? config.size.value() : 0),
      free_slots_(config.size.value()) {
  for (std::size_t i = 0; i < next_.size(); ++i) {
    next_[i] = static_cast<std::uint16_t>((i + 1) & config.size.mask());
  }
}

QueueAreas SplitDriverQueue::published_areas() const {
  return {.descriptors = config_.publisher.publish(config_.areas.descriptors),
          .driver = config_.publisher.publish(config_.areas.driver),
          .device = config_.publisher.publish(config_.areas.device)};
}

Result<Token> SplitDriverQueue::submit(std::span<const Buffer> readable,
                                       std::span<const Buffer> writable, std::uint64_t cookie) {
  if (broken_) return fail({.code = Errc::kQueueBroken, .queue = config_.queue});
  const std::uint32_t writable_bytes =
      TRY(check_request(config_, region_bytes_, readable, writable));
  const auto count = static_cast<std::uint32_t>(readable.size() + writable.size());
  const bool in_table = config_.needs_table(count, free_slots_);
  const std::uint32_t slots = in_table ? 1 : count;
  if (slots > free_slots_) return fail({.code = Errc::kQueueFull, .queue = config_.queue});
  const std::uint16_t head = first_free_;
  const std::uint16_t tail =
      in_table ? put_table(readable, writable) : put_chain(readable, writable);
  free_slots_ -= slots;
  records_[head] = {.cookie = cookie,
                    .sequence = submitted_,
                    .writable_bytes = writable_bytes,
                    .slots = static_cast<std::uint16_t>(slots),
                    .tail = tail,
                    .outstanding = true};
  const std::uint16_t slot = next_avail_.slot(config_.size);
  views_.avail.put(slot, head);
  if (config_.features.in_order) order_[slot] = head;
  ++next_avail_;
  ++submitted_;
  ++outstanding_;
  return Token{head};
}

// Writes a chain into free descriptors of the ring; returns the last. In order those follow each
// other round the table, as the free list then does for ever. VIRTIO 1.3, 2.7.5, 2.7.5.2.
std::uint16_t SplitDriverQueue::put_chain(std::span<const Buffer> readable,
                                          std::span<const Buffer> writable) {
  const std::size_t count = readable.size() + writable.size();
  std::uint16_t tail = first_free_;
  for_each_descriptor(config_.publisher, readable, writable,
                      [&](std::uint32_t index, airlock_descriptor descriptor) {
                        tail = first_free_;
                        first_free_ = next_[tail];
                        if (index + 1 < count) {
                          descriptor.flags |= spec::VIRTQ_DESC_F_NEXT;
                          descriptor.next = first_free_;
                        }
                        views_.descriptors.put(tail, descriptor);
                      });
  return tail;
}

// Writes a chain into the table of the first free descriptor, which then names it; returns that
// descriptor. HD-8; VIRTIO 1.3, 2.7.5.3, 2.7.5.3.1.
std::uint16_t SplitDriverQueue::put_table(std::span<const Buffer> readable,
                                          std::span<const Buffer> writable) {
  const std::uint16_t slot = first_free_;
  first_free_ = next_[slot];
  const std::uint32_t first = std::uint32_t{slot} * config_.tables.entries;
  const auto count = static_cast<std::uint32_t>(readable.size() + writable.size());
  for_each_descriptor(config_.publisher, readable, writable,
                      [&](std::uint32_t index, airlock_descriptor descriptor) {
                        if (index + 1 < count) {
                          descriptor.flags |= spec::VIRTQ_DESC_F_NEXT;
                          descriptor.next = static_cast<std::uint16_t>(index + 1);
                        }
                        views_.tables.put(first + index, descriptor);
                      });
  const window::RegionOffset table{std::to_underlying(config_.tables.start) +
                                   std::uint64_t{first} * AIRLOCK_DESC_BYTES};
  views_.descriptors.put(slot, {.address = std::to_underlying(config_.publisher.publish(table)),
                                .length = count * AIRLOCK_DESC_BYTES,
                                .flags = spec::VIRTQ_DESC_F_INDIRECT,
                                .next = 0});
  return slot;
}

bool SplitDriverQueue::publish() {
  if (broken_ || published_ == submitted_) return false;
  views_.avail.publish_index(next_avail_);
  // Modulo 2^16 the count is the index.
  const auto before = static_cast<std::uint16_t>(std::exchange(published_, submitted_));
  // Between our store of avail.idx and our load of used.flags or avail_event. Pairs with the
  // barrier in DeviceQueue::suppress_notifications(), between its store of those and its load of
  // avail.idx.
  full_barrier();
  // Any value is legal: it decides on a notification and nothing else (HD-21).
  if (config_.features.event_idx) {
    return airlock_need_event(views_.used.avail_event().value(), next_avail_.value(), before);
  }
  return (views_.used.flags() & spec::VIRTQ_USED_F_NO_NOTIFY) == 0;
}

Result<bool> SplitDriverQueue::poll(Completion& target) {
  if (broken_) return fail({.code = Errc::kQueueBroken, .queue = config_.queue});
  if (batch_.left == 0) {
    if (next_used_ == seen_used_) {
      const auto found = find_used();
      if (!found) return break_with(found.error());
      if (!*found) return false;
    }
    const auto batch = take_element();
    if (!batch) return break_with(batch.error());
    batch_ = *batch;
  }
  const bool last = --batch_.left == 0;
  const std::uint16_t head = last ? batch_.last : order_[next_used_.slot(config_.size)];
  const Record& record = records_[head];
  target.token = Token{head};
  target.cookie = record.cookie;
  target.written_bytes = last ? batch_.written_bytes : record.writable_bytes;
  target.length_reported = last;
  release(head);
  ++next_used_;
  return true;
}

// Whether there is an element to take, when all that we knew of are taken.
Result<bool> SplitDriverQueue::find_used() {
  // Pairs with the device's release of used.idx: what it wrote before is visible.
  RingIndex now = views_.used.acquire_index();
  if (now == seen_used_ && config_.features.event_idx && wanted_ && used_event_ != next_used_) {
    // Elements were taken since we asked: what we asked for has come, and we must ask again.
    ask_for_interrupt();
    now = views_.used.acquire_index();
  }
  if (now == seen_used_) return false;
  // HD-4: what is not published can't have been used.
  const auto limit = static_cast<std::uint32_t>(outstanding_ - (submitted_ - published_));
  const airlock_verdict verdict =
      airlock_check_index_advance(seen_used_.value(), now.value(), limit);
  if (verdict != AIRLOCK_OK) return fail({.code = to_errc(verdict), .detail = now.value()});
  seen_used_ = now;
  return true;
}

// The next element, read once and checked.
Result<SplitDriverQueue::Batch> SplitDriverQueue::take_element() const {
  const UsedElement element = views_.used.snapshot(next_used_.slot(config_.size));
  if (const auto verdict = airlock_check_used_id(element.id, config_.size.value());
      verdict != AIRLOCK_OK) {
    return fail({.code = to_errc(verdict), .detail = element.id});
  }
  // The mask changes nothing, but for a processor that speculates past the check.
  const auto head = static_cast<std::uint16_t>(element.id & config_.size.mask());
  const Record& record = records_[head];
  bool returned = record.outstanding && record.sequence < published_;
  std::uint64_t count = 1;
  if (config_.features.in_order && returned) {
    // Requests end as they were submitted: the oldest is as many back as are outstanding. HD-32.
    count = record.sequence - (submitted_ - outstanding_) + 1;
    returned = count <= static_cast<std::uint16_t>(seen_used_ - next_used_);
  }
  if (const auto verdict =
          airlock_check_used_element(returned, element.length, record.writable_bytes);
      verdict != AIRLOCK_OK) {
    const bool too_long = verdict == AIRLOCK_BAD_LENGTH;
    return fail({.code = to_errc(verdict), .detail = too_long ? element.length : element.id});
  }
  return Batch{
      .last = head, .left = static_cast<std::uint16_t>(count), .written_bytes = element.length};
}

void SplitDriverQueue::want_interrupts(bool wanted) {
  if (broken_) return;
  wanted_ = wanted;
  if (wanted) return ask_for_interrupt();
  if (!config_.features.event_idx) {
    return views_.avail.set_flags(spec::VIRTQ_AVAIL_F_NO_INTERRUPT);
  }
  // The entry before the one that we take next: the device wrote it already, and writes its like
  // again only when the index has gone round. (An interrupt that it still owes for it may come.)
  used_event_ = next_used_.previous();
  views_.avail.set_used_event(used_event_);
}

void SplitDriverQueue::ask_for_interrupt() {
  if (config_.features.event_idx) {
    used_event_ = next_used_;
    views_.avail.set_used_event(used_event_);
  } else {
    views_.avail.set_flags(0);
  }
  // Between our store of avail.flags or used_event and the load of used.idx that must follow, in
  // poll(). Pairs with the barrier in DeviceQueue::driver_wants_interrupt(), between its store of
  // used.idx and its load of those.
  full_barrier();
}

void SplitDriverQueue::abandon() {
  if (!broken_) broken_ = Error{.code = Errc::kQueueBroken, .queue = config_.queue};
}

std::optional<Outstanding> SplitDriverQueue::take_outstanding() {
  CHECK(broken_);
  for (; next_taken_ < config_.size.value(); ++next_taken_) {
    const Record& record = records_[next_taken_];
    if (!record.outstanding) continue;
    const auto head = static_cast<std::uint16_t>(next_taken_);
    const Outstanding taken = {.token = Token{head}, .cookie = record.cookie};
    release(head);
    return taken;
  }
  return std::nullopt;
}

std::unexpected<Error> SplitDriverQueue::break_with(Error error) {
  error.queue = config_.queue;
  broken_ = error;
  return fail(error);
}

// Gives a chain's descriptors back, by our own list of them (HD-6, HD-7). In order the list is the
// table itself, round and round: what is given back stands behind what was free before.
void SplitDriverQueue::release(std::uint16_t head) {
  Record& record = records_[head];
  if (!config_.features.in_order) {
    next_[record.tail] = first_free_;
    first_free_ = head;
  }
  free_slots_ += record.slots;
  --outstanding_;
  record = {};
}

}  // namespace airlock::ring
