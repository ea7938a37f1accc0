// SPDX-License-Identifier: Apache-2.0
#include "compare/private_memory.h"

#include <functional>
#include <utility>

#include "core/range.h"

namespace airlock::compare {

Result<PrivateMemory> PrivateMemory::create(std::uint64_t bytes) {
  if (bytes <= kReserved) return fail({.code = Errc::kTooSmall, .address = kReserved});
  auto memory = TRY(shm::SealedMemfd::create({.name = "airlock-private", .size = bytes}));
  auto mapping = TRY(memory.map());
  return PrivateMemory(std::move(memory), std::move(mapping));
}

Result<PrivateMemory> PrivateMemory::adopt(Fd fd, std::uint64_t bytes) {
  if (bytes <= kReserved) return fail({.code = Errc::kTooSmall, .address = kReserved});
  auto memory = TRY(shm::SealedMemfd::adopt(std::move(fd), bytes));
  auto mapping = TRY(memory.map());
  return PrivateMemory(std::move(memory), std::move(mapping));
}

Result<std::uint64_t> PrivateMemory::offset_of(std::span<const std::byte> buffer) const {
  const std::span<const std::byte> all = span();
  // Pointers of different objects have an order by std::less alone.
  const std::less<> before;
  if (!buffer.empty() && !before(buffer.data(), all.data()) &&
      before(buffer.data(), all.data() + all.size())) {
    const auto offset = static_cast<std::uint64_t>(buffer.data() - all.data());
    if (offset >= kReserved && airlock_range_within(offset, buffer.size(), all.size())) {
      return offset;
    }
  }
  return fail({.code = Errc::kOutOfRange, .detail = static_cast<std::uint32_t>(buffer.size())});
}

Result<window::RegionOffset> CoherentArea::take(std::uint64_t bytes) {
  const std::uint64_t pages = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  if (!airlock_range_within(next_, pages, end_)) return fail(Errc::kPoolFull);
  return window::RegionOffset{std::exchange(next_, next_ + pages)};
}

}  // namespace airlock::compare
