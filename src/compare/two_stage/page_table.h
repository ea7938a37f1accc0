// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "compare/private_memory.h"

namespace airlock::compare {

/// What a device may do with a page, as a mask.
enum class PageUse : std::uint8_t { kNone = 0, kRead = 1, kWrite = 2, kBoth = 3 };
[[nodiscard]] constexpr PageUse operator&(PageUse a, PageUse b) {
  return static_cast<PageUse>(std::to_underlying(a) & std::to_underlying(b));
}

/// Where a page leads to; kNone: nowhere.
struct PageEntry {
  std::uint64_t page = 0;  // address of its first byte, below PageTable::kAddressEnd
  PageUse use = PageUse::kNone;

  friend bool operator==(const PageEntry&, const PageEntry&) = default;
};

/// A radix table of 4 KiB pages: three levels of 512 entries. Each entry is one word, read and
/// written whole, so that hardware can walk it while its owner changes it; the owner is one thread.
///
/// An owner may be hostile to who walks it: whatever the frames hold, a walk reads three words
/// inside them.
class PageTable {
 public:
  static constexpr std::uint64_t kAddressEnd = std::uint64_t{1} << 39;

  /// An empty table in `frames`, which are its owner's memory, and zero. Errors: kTooSmall.
  static Result<PageTable> create(const shm::SharedBytes& frames);

  /// Changes a page's entry. Errors: kOutOfRange (an address beyond the end, or in a page);
  /// kPoolFull (no frame is left for the table).
  Result<void> map(std::uint64_t address, const PageEntry& entry);
  /// What is not mapped stays so. Errors: kOutOfRange.
  Result<void> unmap(std::uint64_t address);
  /// Of the page around `address`. Any thread.
  [[nodiscard]] PageEntry find(std::uint64_t address) const;

 private:
  explicit PageTable(const shm::SharedBytes& frames) : frames_(frames) {}
  [[nodiscard]] std::uint64_t load(std::uint64_t frame, unsigned level,
                                   std::uint64_t address) const;

  shm::SharedBytes frames_;
  std::uint64_t next_frame_ = kPageBytes;  // behind the root
};

}  // namespace airlock::compare
