// SPDX-License-Identifier: Apache-2.0
#include "compare/two_stage/page_table.h"

#include <utility>

#include "base/le.h"
#include "core/range.h"

namespace airlock::compare {

namespace {

constexpr unsigned kLastLevel = 2;
constexpr unsigned kIndexBits = 9;
constexpr unsigned kPageBits = 12;
constexpr std::uint64_t kUseMask = 3;
// Of an entry that leads to a frame of the next level; its use is in the last level.
constexpr std::uint64_t kPresent = 1;

/// Where in its frame the entry is that a walk needs.
std::uint64_t entry_offset(unsigned level, std::uint64_t address) {
  const unsigned shift = kPageBits + kIndexBits * (kLastLevel - level);
  return (address >> shift) % (std::uint64_t{1} << kIndexBits) * sizeof(Le64);
}

std::uint64_t page_of(std::uint64_t word) {
  return word / kPageBytes * kPageBytes;
}

Result<void> check_page(std::uint64_t address) {
  if (address % kPageBytes == 0 && address < PageTable::kAddressEnd) return {};
  return fail({.code = Errc::kOutOfRange, .address = address});
}

}  // namespace

Result<PageTable> PageTable::create(const shm::SharedBytes& frames) {
  if (frames.size() < kPageBytes) return fail({.code = Errc::kTooSmall, .address = kPageBytes});
  return PageTable(frames);
}

// Nothing of an entry's bits is believed: a frame outside holds nothing.
std::uint64_t PageTable::load(std::uint64_t frame, unsigned level, std::uint64_t address) const {
  if (!airlock_range_within(frame, kPageBytes, frames_.size())) return 0;
  return frames_.load_acquire<Le64>(frame + entry_offset(level, address)).get();
}

PageEntry PageTable::find(std::uint64_t address) const {
  if (address >= kAddressEnd) return {};
  std::uint64_t frame = 0;
  for (unsigned level = 0; level < kLastLevel; ++level) {
    const std::uint64_t word = load(frame, level, address);
    if ((word & kPresent) == 0) return {};
    frame = page_of(word);
  }
  const std::uint64_t word = load(frame, kLastLevel, address);
  return {.page = page_of(word), .use = static_cast<PageUse>(word & kUseMask)};
}

Result<void> PageTable::map(std::uint64_t address, const PageEntry& entry) {
  TRY(check_page(address));
  TRY(check_page(entry.page));
  std::uint64_t frame = 0;
  for (unsigned level = 0; level < kLastLevel; ++level) {
    std::uint64_t word = load(frame, level, address);
    if ((word & kPresent) == 0) {
      if (!airlock_range_within(next_frame_, kPageBytes, frames_.size())) {
        return fail(Errc::kPoolFull);
      }
      word = std::exchange(next_frame_, next_frame_ + kPageBytes) | kPresent;
      frames_.store_release<Le64>(frame + entry_offset(level, address), Le64(word));
    }
    frame = page_of(word);
  }
  frames_.store_release<Le64>(frame + entry_offset(kLastLevel, address),
                              Le64(entry.page | std::to_underlying(entry.use)));
  return {};
}

Result<void> PageTable::unmap(std::uint64_t address) {
  if (find(address).use == PageUse::kNone) return check_page(address);
  return map(address, {});
}

}  // namespace airlock::compare
