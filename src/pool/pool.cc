// SPDX-License-Identifier: Apache-2.0
#include "pool/pool.h"

#include <algorithm>
#include <bit>
#include <optional>

#include "base/checked.h"
#include "core/range.h"

namespace airlock::pool {

namespace {

std::uint64_t slots_for(std::uint64_t bytes) {
  return (bytes / kSlotBytes) + (bytes % kSlotBytes != 0 ? 1 : 0);
}

// Threads start their search at areas of their own, in turn.
std::size_t home_of_thread() {
  static std::atomic<std::size_t> next{0};
  thread_local const std::size_t kHome = next.fetch_add(1, std::memory_order_relaxed);
  return kHome;
}

std::uint64_t address_of(std::span<const std::byte> bytes) {
  return std::bit_cast<std::uintptr_t>(bytes.data());
}

}  // namespace

struct Pool::Area {
  Area(std::uint64_t first, std::uint64_t slots)
      : origin(first),
        map(static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(slots)),
        records(slots),
        clean(slots) {}

  const std::uint64_t origin;  // number of the first slot in the region
  mutable std::mutex lock;     // for all below, but for `clean`
  SlotMap map;
  std::vector<Record> records;
  std::uint64_t maps = 0;
  std::uint64_t bytes_to_device = 0;
  std::uint64_t bytes_from_device = 0;
  // Slots with nothing of ours in them. Belongs to whoever holds the slot.
  std::vector<std::uint8_t> clean;
};

// A slot: the area it is in, and its position there.
struct Pool::Place {
  Area* area = nullptr;
  std::uint32_t index = 0;
  std::uint32_t generation = 0;

  [[nodiscard]] Record& record() const { return area->records[index]; }
  [[nodiscard]] std::uint64_t offset() const { return (area->origin + index) * kSlotBytes; }
};

Result<std::unique_ptr<Pool>> Pool::create(const shm::SharedBytes& region, const Options& options) {
  if (options.first_usable < kPageBytes)
    return fail({.code = Errc::kTooSmall, .address = kPageBytes});
  if (!airlock_is_aligned(options.first_usable, kPageBytes)) {
    return fail({.code = Errc::kNotAligned,
                 .detail = static_cast<std::uint32_t>(kPageBytes),
                 .address = options.first_usable});
  }
  const std::uint64_t slots = region.size() / kSlotBytes;
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
    : region_(region), scrub_(options.scrub), first_slot_(options.first_usable / kSlotBytes) {
  const std::uint64_t slots = (region.size() / kSlotBytes) - first_slot_;
  const std::uint64_t areas = std::max<std::uint32_t>(options.areas, 1);
  slots_per_area_ = (slots / areas) & ~std::uint64_t{1};  // whole pages
  for (std::uint64_t i = 0; i < areas; i++) {
    const std::uint64_t start = i * slots_per_area_;
    const std::uint64_t size = i == areas - 1 ? slots - start : slots_per_area_;
    areas_.push_back(std::make_unique<Area>(first_slot_ + start, size));
    max_slots_ = std::max(max_slots_, size);
  }
}

Pool::~Pool() {
  CHECK(buffers_.load() == 0);  // a buffer that outlives its pool would free into nothing
}

Result<Mapped> Pool::map_to_device(std::span<const std::byte> source) {
  return map({.source = source.data(), .bytes = source.size(), .direction = Direction::kToDevice});
}

Result<Mapped> Pool::map_from_device(std::span<std::byte> target) {
  return map(
      {.target = target.data(), .bytes = target.size(), .direction = Direction::kFromDevice});
}

Result<Mapped> Pool::map_bidirectional(std::span<std::byte> buffer) {
  return map({.source = buffer.data(),
              .target = buffer.data(),
              .bytes = buffer.size(),
              .direction = Direction::kBidirectional});
}

Result<Mapped> Pool::map(Record wanted) {
  wanted.kind = Kind::kMapped;
  const Place place = TRY(take(wanted, 1));
  if (wanted.source == nullptr) {
    zero_unclean(place, slots_for(wanted.bytes) * kSlotBytes);
  } else {
    region_.copy_in(place.offset(), {wanted.source, wanted.bytes});
    const std::uint64_t slack = (slots_for(wanted.bytes) * kSlotBytes) - wanted.bytes;
    region_.fill_zero(place.offset() + wanted.bytes, slack);
  }
  return Mapped{.offset = window::RegionOffset{place.offset()},
                .bytes = wanted.bytes,
                .generation = place.generation};
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
    const std::scoped_lock held(place.area->lock);
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
  return InPlaceBuffer(this, window::RegionOffset{place.offset()}, place.generation, memory);
}

Result<CoherentBuffer> Pool::allocate_coherent(std::uint64_t bytes, std::uint64_t alignment) {
  const Place place = TRY(allocate_zeroed(bytes, alignment, Kind::kCoherent));
  const auto memory = MUST(region_.slice(place.offset(), bytes));
  return CoherentBuffer(this, window::RegionOffset{place.offset()}, place.generation, memory);
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
  Place place = TRY(place_of(slot));
  const std::scoped_lock held(place.area->lock);
  const std::uint32_t owner = place.record().owner;
  if (owner == 0) return bad_handle(slot);
  place.index = owner - 1;
  Record& record = place.record();
  if (record.kind != Kind::kInPlace || record.released ||
      !airlock_range_inside(offset, bytes.size(), place.offset(), record.bytes)) {
    return bad_handle(slot);
  }
  record.pins++;
  return Pinned{.offset = window::RegionOffset{offset},
                .buffer = window::RegionOffset{place.offset()},
                .generation = record.generation};
}

Result<void> Pool::unpin(const Pinned& pinned) {
  const Place place = TRY(place_of(pinned.buffer));
  {
    const std::scoped_lock held(place.area->lock);
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
  Stats stats{.used = used_.load(std::memory_order_relaxed),
              .high_water = high_water_.load(std::memory_order_relaxed),
              .full = full_.load(std::memory_order_relaxed),
              .too_large = too_large_.load(std::memory_order_relaxed),
              .bad_handles = bad_handles_.load(std::memory_order_relaxed)};
  for (const auto& area : areas_) {
    const std::scoped_lock held(area->lock);
    stats.nslabs += area->map.size();
    stats.maps += area->maps;
    stats.bytes_to_device += area->bytes_to_device;
    stats.bytes_from_device += area->bytes_from_device;
  }
  return stats;
}

// Finds room and records what it is for.
Result<Pool::Place> Pool::take(Record wanted, std::uint64_t alignment) {
  if (wanted.bytes == 0) return fail({.code = Errc::kBadLength});
  const std::uint64_t slots = slots_for(wanted.bytes);
  if (!ever_fits(slots, alignment)) {
    too_large_.fetch_add(1, std::memory_order_relaxed);
    return fail({.code = Errc::kTooLarge, .address = wanted.bytes});
  }
  wanted.slots = static_cast<std::uint32_t>(slots);
  const std::size_t home = home_of_thread();
  for (std::size_t i = 0; i < areas_.size(); i++) {
    Area& area = *areas_[(home + i) % areas_.size()];
    const std::scoped_lock held(area.lock);
    const auto first = area.map.take(wanted.slots, static_cast<std::uint32_t>(alignment));
    if (!first) continue;
    Record& record = area.records[*first];
    wanted.generation = record.generation + 1;
    record = wanted;
    if (wanted.kind == Kind::kInPlace) {
      for (std::uint32_t slot = *first; slot < *first + wanted.slots; slot++) {
        area.records[slot].owner = *first + 1;
      }
    }
    if (wanted.kind == Kind::kMapped) area.maps++;
    if (wanted.source != nullptr) area.bytes_to_device += wanted.bytes;
    count_used(slots);
    return Place{.area = &area, .index = *first, .generation = wanted.generation};
  }
  full_.fetch_add(1, std::memory_order_relaxed);
  return fail({.code = Errc::kPoolFull, .address = wanted.bytes});
}

Result<Pool::Place> Pool::allocate_zeroed(std::uint64_t bytes, std::uint64_t alignment, Kind kind) {
  if (!airlock_is_power_of_two(alignment)) {
    return fail({.code = Errc::kNotPowerOfTwo, .address = alignment});
  }
  const std::uint64_t slots = std::max(alignment, kSlotBytes) / kSlotBytes;
  const Place place = TRY(take({.bytes = bytes, .kind = kind}, slots));
  region_.fill_zero(place.offset(), slots_for(bytes) * kSlotBytes);
  buffers_.fetch_add(1);
  return place;
}

bool Pool::matches(const Record& record, const Mapped& mapped) {
  return record.kind == Kind::kMapped && !record.released &&
         record.generation == mapped.generation && record.bytes == mapped.bytes;
}

Result<Pool::Record> Pool::look_up_for_sync(const Mapped& mapped, Direction refused,
                                            std::uint64_t offset, std::uint64_t length) {
  const Place place = TRY(place_of(mapped.offset));
  const std::scoped_lock held(place.area->lock);
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
  for (std::uint64_t done = 0; done < bytes;) {
    const auto clean = [&](std::uint64_t at) {
      return place.area->clean[place.index + (at / kSlotBytes)] != 0;
    };
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
  const Record record = place.record();  // `released`, so nobody changes it now
  const bool scrub = scrub_ == Scrub::kOnUnmap;
  if (scrub) region_.fill_zero(place.offset(), record.bytes);
  const auto clean = place.area->clean.begin() + static_cast<std::ptrdiff_t>(place.index);
  std::fill_n(clean, record.slots, scrub ? 1 : 0);
  used_.fetch_sub(record.slots, std::memory_order_relaxed);
  const std::scoped_lock held(place.area->lock);
  if (record.kind == Kind::kInPlace) {
    for (std::uint32_t slot = 0; slot < record.slots; slot++) {
      place.area->records[place.index + slot].owner = 0;
    }
  }
  place.record() = {.generation = record.generation};
  place.area->map.give(place.index, record.slots);
}

void Pool::release(window::RegionOffset offset, std::uint32_t generation) {
  const Place place = MUST(place_of(offset));
  buffers_.fetch_sub(1);
  {
    const std::scoped_lock held(place.area->lock);
    Record& record = place.record();
    CHECK(record.kind == Kind::kInPlace || record.kind == Kind::kCoherent);
    CHECK(record.generation == generation && !record.released);
    record.released = true;
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
  if (!airlock_is_aligned(bytes, kSlotBytes) || slot < first_slot_ ||
      slot >= region_.size() / kSlotBytes) {
    return bad_handle(offset);
  }
  const std::uint64_t number =
      std::min<std::uint64_t>((slot - first_slot_) / slots_per_area_, areas_.size() - 1);
  Area& area = *areas_[number];
  return Place{.area = &area, .index = static_cast<std::uint32_t>(slot - area.origin)};
}

std::unexpected<Error> Pool::bad_handle(window::RegionOffset offset) {
  bad_handles_.fetch_add(1, std::memory_order_relaxed);
  return fail({.code = Errc::kBadHandle, .address = std::to_underlying(offset)});
}

void Pool::count_used(std::uint64_t slots) {
  const std::uint64_t now = used_.fetch_add(slots, std::memory_order_relaxed) + slots;
  std::uint64_t most = high_water_.load(std::memory_order_relaxed);
  while (most < now && !high_water_.compare_exchange_weak(most, now, std::memory_order_relaxed)) {
  }
}

void OwnedSlots::reset() {
  Pool* const pool = std::exchange(pool_, nullptr);
  memory_ = {};
  if (pool != nullptr) pool->release(offset_, generation_);
}

}  // namespace airlock::pool
