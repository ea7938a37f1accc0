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
/// A VMM whose guest has an IOMMU shares page by page, and a buffer lies on several: ranges whose
/// addresses follow each other are one memory here, up to the next multiple of kBlockBytes.
///
/// Not thread-safe: the control thread changes it, and only while no queue is running.
class GuestMemory {
 public:
  /// Behind an IOMMU, 64 MiB at least. Mappings cost the kernel memory; of a process it keeps
  /// 65530, and each of these is one, with room before it.
  static constexpr std::size_t kRangesMax = 16384;
  /// What lies in one block of guest addresses lies there in this process too.
  static constexpr std::uint64_t kBlockBytes = std::uint64_t{1} << 32U;
  /// An IOMMU's guest uses few; what lies in more of them is not joined.
  static constexpr std::size_t kBlocksMax = 64;

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
  void clear();

  /// The memory behind [address, address + length), which must lie in one range, or in several that
  /// follow each other in one block; and in such as may be written if that is wanted. Errors:
  /// kAddressOutside.
  [[nodiscard]] Result<shm::SharedBytes> find(std::uint64_t address, std::uint64_t length,
                                              Access access) const;

  [[nodiscard]] std::size_t count() const { return ranges_.size(); }
  /// Bytes of guest memory mapped now.
  [[nodiscard]] std::uint64_t mapped_bytes() const { return mapped_bytes_; }

 private:
  struct Mapped {
    shm::Mapping mapping;
    bool writable = false;
    bool in_block = false;  // not where it would leave its block, or can't lie there
  };
  using Ranges = std::map<std::uint64_t, Mapped>;  // by first address

  [[nodiscard]] bool overlaps(std::uint64_t address, std::uint64_t size) const;
  Result<Mapped> place(const Range& range, const Fd& fd);
  const shm::Reservation* block(std::uint64_t number);
  void forget(Ranges::iterator first, Ranges::iterator end);

  // By address / kBlockBytes. They stay, because a guest comes back to one, and outlive their
  // ranges.
  std::map<std::uint64_t, shm::Reservation> blocks_;
  Ranges ranges_;
  std::uint64_t mapped_bytes_ = 0;
};

}  // namespace airlock::window
