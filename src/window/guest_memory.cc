// SPDX-License-Identifier: Apache-2.0
#include "window/guest_memory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <iterator>
#include <limits>
#include <utility>

#include "base/check.h"
#include "base/checked.h"
#include "core/range.h"

namespace airlock::window {

namespace {

Error outside(Errc code, std::uint64_t address, std::uint64_t length) {
  return {.code = code, .detail = saturate<std::uint32_t>(length), .address = address};
}

}  // namespace

Result<void> GuestMemory::map(const Range& range, const Fd& fd) {
  const std::uint64_t address = std::to_underlying(range.address);
  const std::uint64_t last = std::numeric_limits<std::uint64_t>::max() - address;
  if (range.size == 0 || range.size - 1 > last) {
    return fail(outside(Errc::kOutOfRange, address, range.size));
  }
  if (overlaps(address, range.size)) return fail(outside(Errc::kOutOfRange, address, range.size));
  if (ranges_.size() >= kRangesMax) return fail(outside(Errc::kTooLarge, address, range.size));
  struct stat status = {};
  if (fstat(fd.get(), &status) < 0) return fail(system_error());
  const auto file_size = static_cast<std::uint64_t>(status.st_size);
  if (!airlock_range_within(range.file_offset, range.size, file_size)) {
    return fail({.code = Errc::kWrongSize, .address = file_size});
  }
  ranges_.emplace(address, TRY(place(range, fd)));
  mapped_bytes_ += range.size;
  return {};
}

bool GuestMemory::overlaps(std::uint64_t address, std::uint64_t size) const {
  const auto shared = [&](const auto& entry) {
    return airlock_ranges_overlap(address, size, entry.first, entry.second.mapping.bytes().size());
  };
  const auto after = ranges_.lower_bound(address);
  return (after != ranges_.end() && shared(*after)) ||
         (after != ranges_.begin() && shared(*std::prev(after)));
}

Result<GuestMemory::Mapped> GuestMemory::place(const Range& range, const Fd& fd) {
  const shm::Mapping::Options options{
      .offset = range.file_offset, .length = range.size, .protection = range.protection};
  const bool writable = range.protection == shm::Protection::kReadWrite;
  const std::uint64_t number = std::to_underlying(range.address) / kBlockBytes;
  const std::uint64_t at = std::to_underlying(range.address) % kBlockBytes;
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  const bool fits = airlock_range_within(at, range.size, kBlockBytes);
  if (fits && airlock_is_aligned(at | range.size, page)) {
    const shm::Reservation* const addresses = block(number);
    if (addresses != nullptr) {
      if (auto mapping = addresses->map(fd, options, at)) {
        return Mapped{.mapping = std::move(*mapping), .writable = writable, .in_block = true};
      }
    }
  }
  // No room there, or pages that want to lie elsewhere. Alone it is as good.
  auto alone = TRY(shm::Mapping::map(fd, options));
  return Mapped{.mapping = std::move(alone), .writable = writable};
}

const shm::Reservation* GuestMemory::block(std::uint64_t number) {
  const auto known = blocks_.find(number);
  if (known != blocks_.end()) return &known->second;
  if (blocks_.size() >= kBlocksMax) return nullptr;
  auto made = shm::Reservation::create(kBlockBytes);
  return made ? &blocks_.emplace(number, std::move(*made)).first->second : nullptr;
}

Result<void> GuestMemory::unmap(BusAddress address, std::uint64_t size) {
  const std::uint64_t start = std::to_underlying(address);
  const auto bytes_of = [](const auto& entry) { return entry.second.mapping.bytes().size(); };
  const auto first = ranges_.lower_bound(start);
  bool cuts =
      first != ranges_.begin() &&
      airlock_ranges_overlap(start, size, std::prev(first)->first, bytes_of(*std::prev(first)));
  auto end = first;
  for (; end != ranges_.end() && end->first - start < size; ++end) {
    cuts = cuts || !airlock_range_inside(end->first, bytes_of(*end), start, size);
  }
  if (cuts) return fail(outside(Errc::kBadHandle, start, size));
  forget(first, end);
  return {};
}

void GuestMemory::clear() {
  forget(ranges_.begin(), ranges_.end());
  blocks_.clear();
}

void GuestMemory::forget(Ranges::iterator first, Ranges::iterator end) {
  for (auto at = first; at != end; ++at)
    mapped_bytes_ -= at->second.mapping.bytes().size();
  ranges_.erase(first, end);
}

Result<shm::SharedBytes> GuestMemory::find(std::uint64_t address, std::uint64_t length,
                                           Access access) const {
  const auto refused = [&] { return fail(outside(Errc::kAddressOutside, address, length)); };
  // Writing to a read-only mapping would be a fault of ours, at a hostile driver's word.
  const auto allowed = [access](const Mapped& mapped) {
    return mapped.writable || access == Access::kRead;
  };
  auto at = ranges_.upper_bound(address);
  if (at == ranges_.begin()) return refused();
  --at;
  if (!allowed(at->second)) return refused();
  const shm::SharedBytes first = at->second.mapping.bytes();
  const std::uint64_t offset = address - at->first;
  if (auto bytes = first.slice(offset, length)) return bytes;
  if (offset >= first.size() || !at->second.in_block) return refused();
  // The rest lies on what follows, without a gap.
  const auto block = blocks_.find(address / kBlockBytes);
  CHECK(block != blocks_.end());
  for (std::uint64_t found = first.size() - offset; found < length;) {
    const std::uint64_t end = at->first + at->second.mapping.bytes().size();
    ++at;
    if (at == ranges_.end() || at->first != end || !at->second.in_block || !allowed(at->second))
      return refused();
    found += at->second.mapping.bytes().size();
  }
  auto bytes = block->second.bytes().slice(address % kBlockBytes, length);
  return bytes ? bytes : refused();
}

}  // namespace airlock::window
