// SPDX-License-Identifier: Apache-2.0
#include "ring/split_driver_queue.h"

#include <array>
#include <limits>
#include <utility>

#include "core/range.h"
#include "core/used.h"
#include "ring/areas.h"
#include "ring/barrier.h"
#include "ring/verdict.h"

namespace airlock::ring {

Result<SplitDriverQueue> SplitDriverQueue::create(const DriverQueueConfig& config,
                                                  const shm::SharedBytes& region) {
  const AreaBytes areas = TRY(open_driver_areas(config, region));
  return SplitDriverQueue(config, region.size(),
                          {.descriptors = DescriptorWriter(areas.descriptors),
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
  const std::uint32_t writable_bytes = TRY(check_buffers(readable, writable));
  const std::size_t count = readable.size() + writable.size();
  const std::uint16_t head = first_free_;
  std::uint16_t tail = head;
  std::size_t left = count;
  for (const auto& [buffers, direction] :
       {std::pair{readable, std::uint16_t{0}}, std::pair{writable, spec::VIRTQ_DESC_F_WRITE}}) {
    for (const Buffer& buffer : buffers) {
      tail = first_free_;
      first_free_ = next_[tail];
      const bool last = --left == 0;
      const auto more = last ? std::uint16_t{0} : spec::VIRTQ_DESC_F_NEXT;
      views_.descriptors.put(
          tail, {.address = std::to_underlying(config_.publisher.publish(buffer.offset)),
                 .length = buffer.length,
                 .flags = static_cast<std::uint16_t>(direction | more),
                 .next = last ? std::uint16_t{0} : first_free_});
    }
  }
  free_slots_ -= static_cast<std::uint32_t>(count);
  records_[head] = {.cookie = cookie,
                    .sequence = submitted_,
                    .writable_bytes = writable_bytes,
                    .slots = static_cast<std::uint16_t>(count),
                    .tail = tail,
                    .outstanding = true};
  views_.avail.put(next_avail_.slot(config_.size), head);
  ++next_avail_;
  ++submitted_;
  ++outstanding_;
  return Token{head};
}

bool SplitDriverQueue::publish() {
  if (broken_ || published_ == submitted_) return false;
  views_.avail.publish_index(next_avail_);
  published_ = submitted_;
  // Between our store of avail.idx and our load of used.flags. Pairs with the barrier in
  // DeviceQueue::suppress_notifications(), between its store of used.flags and its load of
  // avail.idx.
  full_barrier();
  // Any value is legal: it decides on a notification and nothing else (HD-21).
  return (views_.used.flags() & spec::VIRTQ_USED_F_NO_NOTIFY) == 0;
}

Result<std::optional<Completion>> SplitDriverQueue::poll() {
  if (broken_) return fail({.code = Errc::kQueueBroken, .queue = config_.queue});
  if (next_used_ == seen_used_) {
    // Pairs with the device's release of used.idx: what it wrote before is visible.
    const RingIndex now = views_.used.acquire_index();
    if (now == seen_used_) return std::optional<Completion>();
    // HD-4: what is not published can't have been used.
    const auto limit = static_cast<std::uint32_t>(outstanding_ - (submitted_ - published_));
    const airlock_verdict verdict =
        airlock_check_index_advance(seen_used_.value(), now.value(), limit);
    if (verdict != AIRLOCK_OK) {
      return break_with({.code = to_errc(verdict), .detail = now.value()});
    }
    seen_used_ = now;
  }
  const UsedElement element = views_.used.snapshot(next_used_.slot(config_.size));
  if (const auto verdict = airlock_check_used_id(element.id, config_.size.value());
      verdict != AIRLOCK_OK) {
    return break_with({.code = to_errc(verdict), .detail = element.id});
  }
  // The mask changes nothing, but for a processor that speculates past the check.
  const auto head = static_cast<std::uint16_t>(element.id & config_.size.mask());
  const Record record = records_[head];
  if (const auto verdict =
          airlock_check_used_element(record.outstanding && record.sequence < published_,
                                     element.length, record.writable_bytes);
      verdict != AIRLOCK_OK) {
    const bool too_long = verdict == AIRLOCK_BAD_LENGTH;
    return break_with({.code = to_errc(verdict), .detail = too_long ? element.length : element.id});
  }
  release(head);
  ++next_used_;
  return std::optional(
      Completion{.token = Token{head}, .cookie = record.cookie, .written_bytes = element.length});
}

void SplitDriverQueue::want_interrupts(bool wanted) {
  if (broken_) return;
  views_.avail.set_flags(wanted ? std::uint16_t{0} : spec::VIRTQ_AVAIL_F_NO_INTERRUPT);
  // Between our store of avail.flags and the load of used.idx in the poll() that must follow. Pairs
  // with the barrier in DeviceQueue::driver_wants_interrupt(), between its store of used.idx and
  // its load of avail.flags.
  if (wanted) full_barrier();
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

Result<void> SplitDriverQueue::check_buffer(const Buffer& buffer) const {
  const std::uint64_t offset = std::to_underlying(buffer.offset);
  if (buffer.length == 0) return fail({.code = Errc::kBadLength, .queue = config_.queue});
  if (!airlock_range_within(offset, buffer.length, region_bytes_) ||
      is_reserved(buffer.offset, config_.publisher.mode)) {
    return fail({.code = Errc::kOutOfRange,
                 .queue = config_.queue,
                 .detail = buffer.length,
                 .address = offset});
  }
  return {};
}

// Whether the buffers make a chain that fits; if so, the bytes of the writable ones.
Result<std::uint32_t> SplitDriverQueue::check_buffers(std::span<const Buffer> readable,
                                                      std::span<const Buffer> writable) const {
  const auto no = [this](Errc code) { return fail({.code = code, .queue = config_.queue}); };
  if (broken_) return no(Errc::kQueueBroken);
  const std::size_t count = readable.size() + writable.size();
  if (count == 0) return no(Errc::kBadLength);
  if (count > config_.size.value()) return no(Errc::kChainTooLong);
  std::uint64_t total = 0;
  std::uint64_t writable_bytes = 0;
  for (const Buffer& buffer : readable) {
    if (const auto checked = check_buffer(buffer); !checked) return fail(checked.error());
    total += buffer.length;
  }
  for (const Buffer& buffer : writable) {
    if (const auto checked = check_buffer(buffer); !checked) return fail(checked.error());
    writable_bytes += buffer.length;
  }
  total += writable_bytes;
  if (total > std::numeric_limits<std::uint32_t>::max()) return no(Errc::kChainTooBig);
  if (count > free_slots_) return no(Errc::kQueueFull);
  return static_cast<std::uint32_t>(writable_bytes);
}

// Gives a chain's descriptors back, by our own list of them (HD-6, HD-7).
void SplitDriverQueue::release(std::uint16_t head) {
  Record& record = records_[head];
  next_[record.tail] = first_free_;
  first_free_ = head;
  free_slots_ += record.slots;
  --outstanding_;
  record = {};
}

}  // namespace airlock::ring
