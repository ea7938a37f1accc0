// SPDX-License-Identifier: Apache-2.0
#include "window/guest_memory.h"

#include <sys/stat.h>

#include <limits>
#include <utility>

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
  for (const auto& [first, mapped] : ranges_) {
    if (airlock_ranges_overlap(address, range.size, first, mapped.mapping.bytes().size())) {
      return fail(outside(Errc::kOutOfRange, address, range.size));
    }
  }
  if (ranges_.size() >= kRangesMax) return fail(outside(Errc::kTooLarge, address, range.size));
  struct stat status = {};
  if (fstat(fd.get(), &status) < 0) return fail(system_error());
  const auto file_size = static_cast<std::uint64_t>(status.st_size);
  if (!airlock_range_within(range.file_offset, range.size, file_size)) {
    return fail({.code = Errc::kWrongSize, .address = file_size});
  }
  auto mapping = TRY(shm::Mapping::map(
      fd, {.offset = range.file_offset, .length = range.size, .protection = range.protection}));
  ranges_.emplace(address, Mapped{.mapping = std::move(mapping),
                                  .writable = range.protection == shm::Protection::kReadWrite});
  return {};
}

Result<void> GuestMemory::unmap(BusAddress address, std::uint64_t size) {
  const std::uint64_t start = std::to_underlying(address);
  const auto inside = [&](const auto& entry) {
    return airlock_range_inside(entry.first, entry.second.mapping.bytes().size(), start, size);
  };
  for (const auto& entry : ranges_) {
    const std::uint64_t bytes = entry.second.mapping.bytes().size();
    if (airlock_ranges_overlap(start, size, entry.first, bytes) && !inside(entry)) {
      return fail(outside(Errc::kBadHandle, start, size));
    }
  }
  std::erase_if(ranges_, inside);
  return {};
}

Result<shm::SharedBytes> GuestMemory::find(std::uint64_t address, std::uint64_t length,
                                           Access access) const {
  auto after = ranges_.upper_bound(address);
  if (after != ranges_.begin()) {
    const auto& [first, mapped] = *--after;
    // Writing to a read-only mapping would be a fault of ours, at a hostile driver's word.
    if (mapped.writable || access == Access::kRead) {
      if (auto bytes = mapped.mapping.bytes().slice(address - first, length)) return bytes;
    }
  }
  return fail(outside(Errc::kAddressOutside, address, length));
}

std::uint64_t GuestMemory::mapped_bytes() const {
  std::uint64_t sum = 0;
  for (const auto& [first, mapped] : ranges_)
    sum += mapped.mapping.bytes().size();
  return sum;
}

}  // namespace airlock::window
