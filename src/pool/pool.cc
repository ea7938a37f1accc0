// SPDX-License-Identifier: Apache-2.0
#include "pool/pool.h"

#include <algorithm>
#include <bit>
#include <optional>

#include "base/checked.h"
#include "base/counter.h"
#include "core/range.h"
#include "pool/biased_lock.h"

namespace airlock::pool {

namespace {

std::uint64_t slots_for(std::uint64_t bytes) {
  return (bytes / kSlotBytes) + (bytes % kSlotBytes != 0 ? 1 : 0);
}

// Behind the last slot; beyond the region if the options ask for more than there is.
std::uint64_t end_slot_of(const shm::SharedBytes& region, const Pool::Options& options) {
  if (options.usable_bytes == 0) return region.size() / kSlotBytes;
  return (options.first_usable / kSlotBytes) + slots_for(options.usable_bytes);
}

std::uint64_t address_of(std::span<const std::byte> bytes) {
  return std::bit_cast<std::uintptr_t>(bytes.data());
}

}  // namespace

// On cache lines of its own: areas share nothing that is written.
struct alignas(64) Pool::Area {
  Area(std::uint64_t first, std::uint64_t slots)
      : origin(first),
        map(static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(slots)),
        records(slots),
        clean(slots) {}

  [[nodiscard]] std::uint64_t free_slots() const { return map.size() - used.get(); }

  const std::uint64_t origin;  // number of the first slot in the region
  BiasedLock lock;             // for all below, but for `clean`; the counters are read without it
  SlotMap map;
  std::vector<Record> records;
  Counter used;
  Counter high_water;
  Counter maps;
  Counter buffers;
  Counter bytes_to_device;
  Counter bytes_from_device;
  // Slots that were zeroed when they were last given back. Belongs to whoever holds the slot.
  std::vector<std::uint8_t> clean;
};

Pool::Record& Pool::Place::record() const {
  return area->records[index];
}

std::uint64_t Pool::Place::offset() const {
  return (area->origin + index) * kSlotBytes;
}

Result<std::unique_ptr<Pool>> Pool::create(const shm::SharedBytes& region, const Options& options) {
  if (options.first_usable < kPageBytes)
    return fail({.code = Errc::kTooSmall, .address = kPageBytes});
  if (!airlock_is_aligned(options.first_usable, kPageBytes)) {
    return fail({.code = Errc::kNotAligned,
                 .detail = static_cast<std::uint32_t>(kPageBytes),
                 .address = options.first_usable});
  }
  if (!airlock_is_aligned(options.usable_bytes, kPageBytes)) {
    return fail({.code = Errc::kNotAligned,
                 .detail = static_cast<std::uint32_t>(kPageBytes),
                 .address = options.usable_bytes});
  }
  if (!airlock_range_within(options.first_usable, options.usable_bytes, region.size())) {
    return fail({.code = Errc::kTooSmall,
                 .address = checked_add(options.first_usable, options.usable_bytes).value_or(0)});
  }
  const std::uint64_t slots = end_slot_of(region, options);
  const std::uint64_t first = options.first_usable / kSlotBytes;
  const std::uint64_t areas = std::max<std::uint32_t>(options.areas, 1);
  const std::uint64_t least = 2 * areas;  // one page an area
  if (slots < first || slots - first < least) {
    const std::uint64_t needed = options.first_usable + (least * kSlotBytes);
    return fail({.code = Errc::kTooSmall, .address = needed});
  }
  if (slots > std::uint64_t{1} << 31)
    return fail({.code = Errc::kTooLarge, .address = region.size()});
  return std::unique_ptr<Pool>(new Pool(region, options));
}

Pool::Pool(const shm::SharedBytes& region, const Options& options)
    : region_(region),
      scrub_(options.scrub),
      first_slot_(options.first_usable / kSlotBytes),
      end_slot_(end_slot_of(region, options)) {
  const std::uint64_t slots = end_slot_ - first_slot_;
  const std::uint64_t areas = std::max<std::uint32_t>(options.areas, 1);
  slots_per_area_ = (slots / areas) & ~std::uint64_t{1};  // whole pages
  for (std::uint64_t i = 0; i < areas; i++) {
    const std::uint64_t start = i * slots_per_area_;
    const std::uint64_t size = i == areas - 1 ? slots - start : slots_per_area_;
    areas_.push_back(std::make_unique<Area>(first_slot_ + start, size));
    max_slots_ = std::max(max_slots_, size);
  }
}

Result<std::vector<std::unique_ptr<Pool>>> Pool::create_parts(
    const shm::SharedBytes& region, std::span<const std::uint64_t> part_bytes, Scrub scrub) {
  std::vector<std::unique_ptr<Pool>> parts;
  parts.reserve(part_bytes.size());
  std::uint64_t first = kPageBytes;
  for (const std::uint64_t bytes : part_bytes) {
    if (bytes == 0) return fail({.code = Errc::kTooSmall, .address = kPageBytes});
    parts.push_back(
        TRY(create(region, {.first_usable = first, .scrub = scrub, .usable_bytes = bytes})));
    first += bytes;  // inside the region, as was checked
  }
  for (const auto& part : parts) {
    for (const auto& other : parts)
      if (other != part) part->others_.push_back(other.get());
  }
  return parts;
}

Pool::~Pool() {
  // A buffer that outlives its pool would free into nothing.
  CHECK(std::ranges::all_of(areas_, [](const auto& area) { return area->buffers.get() == 0; }));
}

Result<Mapped> Pool::map_to_device(std::span<const std::byte> source, std::uint32_t home) {
  return map({.bytes = source.size(), .source = source.data(), .home = home});
}

Result<Mapped> Pool::map_from_device(std::span<std::byte> target, std::uint32_t home) {
  return map({.bytes = target.size(),
              .target = target.data(),
              .home = home,
              .direction = Direction::kFromDevice});
}

Result<Mapped> Pool::map_bidirectional(std::span<std::byte> buffer, std::uint32_t home) {
  return map({.bytes = buffer.size(),
              .source = buffer.data(),
              .target = buffer.data(),
              .home = home,
              .direction = Direction::kBidirectional});
}

// On the way of each request nothing is copied as a whole that was just written field by field,
// Results too: the processor can't forward a wide load from narrow stores, and waits for the cache.
Result<Mapped> Pool::map(const Wanted& wanted) {
  const auto place = take(wanted, 1);
  if (!place) return fail(place.error());
  const std::uint64_t offset = place->offset();
  const std::uint64_t extent = slots_for(wanted.bytes) * kSlotBytes;
  if (wanted.source == nullptr) {
    zero_unclean(*place, extent);
  } else {
    region_.copy_in(offset, {wanted.source, wanted.bytes});
    region_.fill_zero(offset + wanted.bytes, extent - wanted.bytes);
  }
  return Result<Mapped>(std::in_place, window::RegionOffset{offset}, wanted.bytes,
                        place->record().generation);
}

Result<void> Pool::sync_for_device(const Mapped& mapped, std::uint64_t offset,
                                   std::uint64_t length) {
  const Record record = TRY(look_up_for_sync(mapped, Direction::kFromDevice, offset, length));
  region_.copy_in(std::to_underlying(mapped.offset) + offset, {record.source + offset, length});
  return {};
}

Result<void> Pool::sync_for_cpu(const Mapped& mapped, std::uint64_t offset, std::uint64_t length) {
  const Record record = TRY(look_up_for_sync(mapped, Direction::kToDevice, offset, length));
  region_.copy_out(std::to_underlying(mapped.offset) + offset, {record.target + offset, length});
  return {};
}

Result<void> Pool::unmap(const Mapped& mapped, std::uint64_t written) {
  const Place place = TRY(place_of(mapped.offset));
  bool believed = false;
  std::byte* target = nullptr;
  {
    const BiasedLock::Hold held(place.area->lock);
    Record& record = place.record();
    if (!matches(record, mapped)) return bad_handle(mapped.offset);
    record.released = true;
    target = record.target;
    believed = written <= (target != nullptr ? record.bytes : 0);
    if (believed) place.area->bytes_from_device += written;
  }
  if (believed && written > 0) {
    region_.copy_out(std::to_underlying(mapped.offset), {target, written});
  }
  scrub_and_free(place);
  if (believed) return {};
  return fail({.code = Errc::kBadLength, .detail = saturate<std::uint32_t>(written)});
}

Result<InPlaceBuffer> Pool::allocate(std::uint64_t bytes, std::uint64_t alignment) {
  const Place place = TRY(allocate_zeroed(bytes, alignment, Kind::kInPlace));
  const auto memory = MUST(region_.slice(place.offset(), bytes));
  return InPlaceBuffer(this, window::RegionOffset{place.offset()}, place.record().generation,
                       memory);
}

Result<CoherentBuffer> Pool::allocate_coherent(std::uint64_t bytes, std::uint64_t alignment) {
  const Place place = TRY(allocate_zeroed(bytes, alignment, Kind::kCoherent));
  const auto memory = MUST(region_.slice(place.offset(), bytes));
  return CoherentBuffer(this, window::RegionOffset{place.offset()}, place.record().generation,
                        memory);
}

bool Pool::contains(std::span<const std::byte> bytes) const {
  return airlock_ranges_overlap(address_of(bytes), bytes.size(), address_of(region_.in_place()),
                                region_.size());
}

Result<Pinned> Pool::pin(std::span<const std::byte> bytes) {
  const std::uint64_t base = address_of(region_.in_place());
  if (!airlock_range_inside(address_of(bytes), bytes.size(), base, region_.size())) {
    return bad_handle({});
  }
  // Of the same memory, as was just checked: the pointers may be subtracted.
  const auto offset = static_cast<std::uint64_t>(bytes.data() - region_.in_place().data());
  const window::RegionOffset slot{offset & ~(kSlotBytes - 1)};
  return part_with(slot).pin_own(offset, bytes.size());
}

Result<Pinned> Pool::pin_own(std::uint64_t offset, std::uint64_t bytes) {
  const window::RegionOffset slot{offset & ~(kSlotBytes - 1)};
  Place place = TRY(place_of(slot));
  const BiasedLock::Hold held(place.area->lock);
  const std::uint32_t owner = place.record().owner;
  if (owner == 0) return bad_handle(slot);
  place.index = owner - 1;
  Record& record = place.record();
  if (record.kind != Kind::kInPlace || record.released ||
      !airlock_range_inside(offset, bytes, place.offset(), record.bytes)) {
    return bad_handle(slot);
  }
  record.pins++;
  return Pinned{.offset = window::RegionOffset{offset},
                .buffer = window::RegionOffset{place.offset()},
                .generation = record.generation};
}

Result<void> Pool::unpin(const Pinned& pinned) {
  return part_with(pinned.buffer).unpin_own(pinned);
}

Result<void> Pool::unpin_own(const Pinned& pinned) {
  const Place place = TRY(place_of(pinned.buffer));
  {
    const BiasedLock::Hold held(place.area->lock);
    Record& record = place.record();
    if (record.kind != Kind::kInPlace || record.generation != pinned.generation ||
        record.pins == 0) {
      return bad_handle(pinned.buffer);
    }
    record.pins--;
    if (record.pins > 0 || !record.released) return {};
  }
  scrub_and_free(place);
  return {};
}

Stats Pool::stats() const {
  Stats stats{.full = full_.load(std::memory_order_relaxed),
              .too_large = too_large_.load(std::memory_order_relaxed),
              .bad_handles = bad_handles_.load(std::memory_order_relaxed)};
  for (const auto& area : areas_) {
    stats.nslabs += area->map.size();
    stats.used += area->used.get();
    stats.high_water += area->high_water.get();
    stats.maps += area->maps.get();
    stats.bytes_to_device += area->bytes_to_device.get();
    stats.bytes_from_device += area->bytes_from_device.get();
  }
  return stats;
}

// Finds room and records what it is for.
Result<Pool::Place> Pool::take(const Wanted& wanted, std::uint64_t alignment) {
  if (wanted.bytes == 0) return fail({.code = Errc::kBadLength});
  const std::uint64_t slots = slots_for(wanted.bytes);
  if (slots > max_slots_ || (alignment > 1 && !ever_fits(slots, alignment))) {
    too_large_.fetch_add(1, std::memory_order_relaxed);
    return fail({.code = Errc::kTooLarge, .address = wanted.bytes});
  }
  const bool any = wanted.home == kHomeOfThread;
  std::size_t number = (any ? BiasedLock::this_thread() : wanted.home) % areas_.size();
  for (std::size_t i = 0; i < areas_.size(); i++) {
    Area& area = *areas_[number];
    number = number + 1 < areas_.size() ? number + 1 : 0;
    if (area.free_slots() < slots) continue;  // nobody is disturbed in vain
    const BiasedLock::Hold held(area.lock);
    const std::uint32_t first =
        area.map.take(static_cast<std::uint32_t>(slots), static_cast<std::uint32_t>(alignment));
    if (first == SlotMap::kNone) continue;
    record_taken(area, first, wanted);
    return Result<Place>(std::in_place, &area, first);
  }
  full_.fetch_add(1, std::memory_order_relaxed);
  return fail({.code = Errc::kPoolFull, .address = wanted.bytes});
}

// The area's lock is held.
void Pool::record_taken(Area& area, std::uint32_t first, const Wanted& wanted) {
  Record& record = area.records[first];
  record.source = wanted.source;
  record.bytes = wanted.bytes;
  record.target = wanted.target;
  record.slots = static_cast<std::uint32_t>(slots_for(wanted.bytes));
  record.generation++;
  record.pins = 0;
  record.kind = wanted.kind;
  record.direction = wanted.direction;
  record.released = false;
  if (record.kind == Kind::kInPlace) {
    for (Record& slot : std::span(area.records).subspan(first, record.slots))
      slot.owner = first + 1;
  }
  area.used += record.slots;
  if (area.used.get() > area.high_water.get()) {
    area.high_water += area.used.get() - area.high_water.get();
  }
  if (record.kind == Kind::kMapped) {
    ++area.maps;
  } else {
    ++area.buffers;
  }
  if (record.source != nullptr) area.bytes_to_device += record.bytes;
}

Result<Pool::Place> Pool::allocate_zeroed(std::uint64_t bytes, std::uint64_t alignment, Kind kind) {
  if (!airlock_is_power_of_two(alignment)) {
    return fail({.code = Errc::kNotPowerOfTwo, .address = alignment});
  }
  const std::uint64_t slots = std::max(alignment, kSlotBytes) / kSlotBytes;
  const Place place = TRY(take({.bytes = bytes, .kind = kind}, slots));
  region_.fill_zero(place.offset(), slots_for(bytes) * kSlotBytes);
  return place;
}

bool Pool::matches(const Record& record, const Mapped& mapped) {
  return record.kind == Kind::kMapped && !record.released &&
         record.generation == mapped.generation && record.bytes == mapped.bytes;
}

Result<Pool::Record> Pool::look_up_for_sync(const Mapped& mapped, Direction refused,
                                            std::uint64_t offset, std::uint64_t length) {
  const Place place = TRY(place_of(mapped.offset));
  const BiasedLock::Hold held(place.area->lock);
  const Record& record = place.record();
  if (!matches(record, mapped)) return bad_handle(mapped.offset);
  if (record.direction == refused) return fail(Errc::kWrongState);
  if (!airlock_range_within(offset, length, record.bytes)) {
    return fail(
        {.code = Errc::kOutOfRange, .detail = saturate<std::uint32_t>(length), .address = offset});
  }
  (refused == Direction::kToDevice ? place.area->bytes_from_device : place.area->bytes_to_device) +=
      length;
  return record;
}

// Zeroes those of the slots under [0, bytes) that may hold something of ours.
void Pool::zero_unclean(const Place& place, std::uint64_t bytes) {
  const auto clean = [&](std::uint64_t at) {
    return place.area->clean[place.index + (at / kSlotBytes)] != 0;
  };
  for (std::uint64_t done = 0; done < bytes;) {
    std::uint64_t end = done;
    while (end < bytes && !clean(end))
      end += kSlotBytes;
    region_.fill_zero(place.offset() + done, end - done);
    done = end;
    while (done < bytes && clean(done))
      done += kSlotBytes;
  }
}

// The last step of whatever was allocated: nobody else has a use for the slots any more.
void Pool::scrub_and_free(const Place& place) {
  Record& record = place.record();  // `released`, so nobody else changes it now
  if (scrub_ == Scrub::kOnUnmap) {
    region_.fill_zero(place.offset(), record.bytes);
    std::ranges::fill(std::span(place.area->clean).subspan(place.index, record.slots), 1);
  }
  const BiasedLock::Hold held(place.area->lock);
  if (record.kind == Kind::kInPlace) {
    for (Record& slot : std::span(place.area->records).subspan(place.index, record.slots))
      slot.owner = 0;
  }
  record.kind = Kind::kFree;
  place.area->used -= record.slots;
  place.area->map.give(static_cast<std::uint32_t>(place.index), record.slots);
}

void Pool::release(window::RegionOffset offset, std::uint32_t generation) {
  const Place place = MUST(place_of(offset));
  {
    const BiasedLock::Hold held(place.area->lock);
    Record& record = place.record();
    CHECK(record.kind == Kind::kInPlace || record.kind == Kind::kCoherent);
    CHECK(record.generation == generation && !record.released);
    record.released = true;
    place.area->buffers -= 1;
    if (record.pins > 0) return;  // the last unpin() frees it
  }
  scrub_and_free(place);
}

// Whether an empty pool would have room.
bool Pool::ever_fits(std::uint64_t slots, std::uint64_t alignment) const {
  return std::ranges::any_of(areas_, [&](const auto& area) {
    const auto start = checked_align_up(area->origin, alignment);
    return start && airlock_range_inside(*start, slots, area->origin, area->map.size());
  });
}

Result<Pool::Place> Pool::place_of(window::RegionOffset offset) {
  const std::uint64_t bytes = std::to_underlying(offset);
  const std::uint64_t slot = bytes / kSlotBytes;
  if (!airlock_is_aligned(bytes, kSlotBytes) || !is_mine(offset)) return bad_handle(offset);
  const std::uint64_t number =
      std::min<std::uint64_t>((slot - first_slot_) / slots_per_area_, areas_.size() - 1);
  Area& area = *areas_[number];
  return Place{.area = &area, .index = slot - area.origin};
}

bool Pool::is_mine(window::RegionOffset offset) const {
  const std::uint64_t slot = std::to_underlying(offset) / kSlotBytes;
  return slot >= first_slot_ && slot < end_slot_;
}

Pool& Pool::part_with(window::RegionOffset offset) {
  const auto found =
      std::ranges::find_if(others_, [&](const Pool* other) { return other->is_mine(offset); });
  return found == others_.end() ? *this : **found;
}

std::unexpected<Error> Pool::bad_handle(window::RegionOffset offset) {
  bad_handles_.fetch_add(1, std::memory_order_relaxed);
  return fail({.code = Errc::kBadHandle, .address = std::to_underlying(offset)});
}

void OwnedSlots::reset() {
  Pool* const pool = std::exchange(pool_, nullptr);
  memory_ = {};
  if (pool != nullptr) pool->release(offset_, generation_);
}

}  // namespace airlock::pool
