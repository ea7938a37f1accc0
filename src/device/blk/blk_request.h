// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/result.h"
#include "ring/chain.h"
#include "spec/virtio_blk.h"

namespace airlock::device {

/// Most ranges of one discard or write zeroes request.
inline constexpr std::uint32_t kBlkRangesMost = 32;

/// What requests are checked against: the disk, and what its driver negotiated.
struct BlkLimits {
  std::uint64_t capacity_bytes = 0;  // a multiple of 512
  bool read_only = false;
  bool flush = false;         // VIRTIO_BLK_F_FLUSH
  bool discard = false;       // VIRTIO_BLK_F_DISCARD
  bool write_zeroes = false;  // VIRTIO_BLK_F_WRITE_ZEROES
  std::uint32_t max_discard_sectors = 0;
  std::uint32_t max_discard_ranges = 0;  // at most kBlkRangesMost
  std::uint32_t max_write_zeroes_sectors = 0;
  std::uint32_t max_write_zeroes_ranges = 0;  // at most kBlkRangesMost
};

/// A request, checked, and private: nothing of it is read from shared memory again, but the data.
///
/// What it proves unless it is kRefused: reads, writes and ranges lie on the disk, in whole
/// sectors; nothing changes a read-only disk; the type was negotiated; flags and counts are within
/// limits.
struct BlkRequest {
  enum class Kind : std::uint8_t {
    kRead,
    kWrite,
    kFlush,
    kGetId,
    kDiscard,
    kWriteZeroes,
    kRefused,
  };
  struct Range {
    std::uint64_t offset = 0;  // bytes
    std::uint64_t length = 0;  // bytes, may be zero
    bool unmap = false;
  };

  Kind kind = Kind::kRefused;
  std::uint8_t refusal = spec::VIRTIO_BLK_S_IOERR;  // kRefused: the status for the driver
  std::uint64_t offset = 0;                         // read, write: bytes
  /// Read, get id: of the chain's writable part. Write: of its readable part. May be empty.
  ring::Chain::Part data;
  /// Discard, write zeroes: the driver's ranges.
  std::array<Range, kBlkRangesMost> range_storage{};
  std::uint32_t range_count = 0;

  [[nodiscard]] std::span<const Range> ranges() const {
    return std::span(range_storage).first(range_count);
  }
};

/// Reads a request out of `chain` into `target`. The header, the data and the status byte are found
/// by counting bytes, however the driver cut them into buffers (VIRTIO 1.3, 2.7.4): the header is
/// the first 16 readable bytes, the status the last writable one. Does not allocate.
/// Errors: kTooSmall: there is no byte for the status, so that nothing can be answered. A driver
/// that does this is broken, and so is its queue.
/// VIRTIO 1.3, 5.2.6, 5.2.6.1, 5.2.6.2.
[[nodiscard]] Result<void> parse_blk_request(const ring::Chain& chain, const BlkLimits& limits,
                                             BlkRequest& target);

}  // namespace airlock::device
