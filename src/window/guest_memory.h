// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>

#include "base/fd.h"
#include "shm/mapping.h"
#include "window/address.h"

namespace airlock::window {

/// Guest memory that a VMM shared with the device by file descriptor. Exists only for
/// `--dma=prefer` and `--dma=open`: under `require` nothing is ever put here.
///
/// Not thread-safe: the control thread changes it, and only while no queue is running.
class GuestMemory {
 public:
  /// Mappings cost the kernel memory, and a process may have so many.
  static constexpr std::size_t kRangesMax = 4096;

  struct Range {
    BusAddress address{};
    std::uint64_t size = 0;  // bytes, not zero, address + size <= 2^64
    std::uint64_t file_offset = 0;
    shm::Protection protection = shm::Protection::kReadWrite;
  };

  /// Maps `range` of `fd`. The file must be at least as large as the range needs when mapped.
  /// Errors: kOutOfRange (empty, wraps, or overlaps another range), kTooLarge (more
  /// than kRangesMax ranges), kWrongSize, kSystem.
  Result<void> map(const Range& range, const Fd& fd);
  /// Unmaps every range in [address, address + size). What was never mapped there is no error.
  /// Errors: kBadHandle if that would cut a range in two; nothing is unmapped then.
  Result<void> unmap(BusAddress address, std::uint64_t size);
  void clear() { ranges_.clear(); }

  /// The memory behind [address, address + length), which must lie in one range, and in one that
  /// may be written if that is wanted. Errors: kAddressOutside.
  [[nodiscard]] Result<shm::SharedBytes> find(std::uint64_t address, std::uint64_t length,
                                              Access access) const;

  [[nodiscard]] std::size_t count() const { return ranges_.size(); }
  /// Bytes of guest memory mapped now.
  [[nodiscard]] std::uint64_t mapped_bytes() const;

 private:
  struct Mapped {
    shm::Mapping mapping;
    bool writable = false;
  };
  std::map<std::uint64_t, Mapped> ranges_;  // by first address
};

}  // namespace airlock::window
