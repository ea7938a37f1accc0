// SPDX-License-Identifier: Apache-2.0
#include "device/blk/blk_request.h"

#include <optional>

#include "base/checked.h"
#include "core/range.h"

namespace airlock::device {

namespace {

using spec::VIRTIO_BLK_S_IOERR;
using spec::VIRTIO_BLK_S_OK;
using spec::VIRTIO_BLK_S_UNSUPP;
using Segment = spec::VirtioBlkDiscardWriteZeroes;

constexpr std::uint32_t kHeaderBytes = sizeof(spec::VirtioBlkReqHeader);
constexpr std::uint32_t kStatusBytes = 1;

/// A driver's sectors as bytes; nothing unless all of them are on the disk.
std::optional<BlkRequest::Range> on_disk(std::uint64_t sector, std::uint64_t length,
                                         const BlkLimits& limits) {
  const auto offset = checked_multiply<std::uint64_t>(sector, spec::VIRTIO_BLK_SECTOR_BYTES);
  if (!offset || !airlock_range_within(*offset, length, limits.capacity_bytes)) {
    return std::nullopt;
  }
  return BlkRequest::Range{.offset = *offset, .length = length};
}

// Each function below gives VIRTIO_BLK_S_OK, or the status to refuse the request with.

std::uint8_t parse_transfer(std::uint64_t sector, const ring::Chain::Part& data,
                            const BlkLimits& limits, BlkRequest& target) {
  if (data.length % spec::VIRTIO_BLK_SECTOR_BYTES != 0) return VIRTIO_BLK_S_IOERR;
  const auto range = on_disk(sector, data.length, limits);
  if (!range) return VIRTIO_BLK_S_IOERR;
  target.offset = range->offset;
  target.data = data;
  return VIRTIO_BLK_S_OK;
}

struct RangeLimits {
  std::uint32_t max_sectors = 0;
  std::uint32_t max_ranges = 0;
  std::uint32_t flags = 0;  // that are known
};

std::uint8_t parse_range(const Segment& segment, const RangeLimits& rules, const BlkLimits& limits,
                         BlkRequest& target) {
  const std::uint32_t flags = segment.flags.get();
  if ((flags & ~rules.flags) != 0) return VIRTIO_BLK_S_UNSUPP;
  const std::uint32_t sectors = segment.num_sectors.get();
  if (sectors > rules.max_sectors) return VIRTIO_BLK_S_IOERR;
  auto range =
      on_disk(segment.sector.get(), std::uint64_t{sectors} * spec::VIRTIO_BLK_SECTOR_BYTES, limits);
  if (!range) return VIRTIO_BLK_S_IOERR;
  range->unmap = (flags & spec::VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) != 0;
  target.range_storage[target.range_count++] = *range;
  return VIRTIO_BLK_S_OK;
}

std::uint8_t parse_ranges(const ring::Chain& chain, const RangeLimits& rules,
                          const BlkLimits& limits, BlkRequest& target) {
  const std::uint32_t bytes = chain.readable_bytes() - kHeaderBytes;
  const std::uint32_t count = bytes / sizeof(Segment);
  if (bytes % sizeof(Segment) != 0 || count == 0) return VIRTIO_BLK_S_IOERR;
  if (count > rules.max_ranges || count > kBlkRangesMost) return VIRTIO_BLK_S_IOERR;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto at = static_cast<std::uint32_t>(kHeaderBytes + i * sizeof(Segment));
    const auto segment = MUST(chain.read<Segment>(at));
    const std::uint8_t status = parse_range(segment, rules, limits, target);
    if (status != VIRTIO_BLK_S_OK) return status;
  }
  return VIRTIO_BLK_S_OK;
}

std::uint8_t parse_known(const ring::Chain& chain, const BlkLimits& limits, BlkRequest& target) {
  // Once: what the driver does to it later changes nothing.
  const auto header = MUST(chain.read<spec::VirtioBlkReqHeader>(0));
  const std::uint64_t sector = header.sector.get();
  const ring::Chain::Part readable{.offset = kHeaderBytes,
                                   .length = chain.readable_bytes() - kHeaderBytes};
  const ring::Chain::Part writable{.offset = 0, .length = chain.writable_bytes() - kStatusBytes};
  switch (header.type.get()) {
    case spec::VIRTIO_BLK_T_IN:
      target.kind = BlkRequest::Kind::kRead;
      return parse_transfer(sector, writable, limits, target);
    case spec::VIRTIO_BLK_T_OUT:
      target.kind = BlkRequest::Kind::kWrite;
      // 5.2.6.2: IOERR for a write if VIRTIO_BLK_F_RO was offered, and nothing is written.
      if (limits.read_only) return VIRTIO_BLK_S_IOERR;
      return parse_transfer(sector, readable, limits, target);
    case spec::VIRTIO_BLK_T_FLUSH:
      target.kind = BlkRequest::Kind::kFlush;
      return limits.flush ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_UNSUPP;
    case spec::VIRTIO_BLK_T_GET_ID:
      target.kind = BlkRequest::Kind::kGetId;
      target.data = writable;
      return writable.length >= spec::VIRTIO_BLK_ID_BYTES ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
    case spec::VIRTIO_BLK_T_DISCARD:
      target.kind = BlkRequest::Kind::kDiscard;
      if (!limits.discard) return VIRTIO_BLK_S_UNSUPP;
      // 5.2.6.2: UNSUPP for a discard with any flag, unmap too.
      return parse_ranges(chain,
                          {.max_sectors = limits.max_discard_sectors,
                           .max_ranges = limits.max_discard_ranges,
                           .flags = 0},
                          limits, target);
    case spec::VIRTIO_BLK_T_WRITE_ZEROES:
      target.kind = BlkRequest::Kind::kWriteZeroes;
      if (!limits.write_zeroes) return VIRTIO_BLK_S_UNSUPP;
      return parse_ranges(chain,
                          {.max_sectors = limits.max_write_zeroes_sectors,
                           .max_ranges = limits.max_write_zeroes_ranges,
                           .flags = spec::VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP},
                          limits, target);
    default:
      return VIRTIO_BLK_S_UNSUPP;
  }
}

}  // namespace

Result<void> parse_blk_request(const ring::Chain& chain, const BlkLimits& limits,
                               BlkRequest& target) {
  if (chain.writable_bytes() < kStatusBytes) {
    return fail({.code = Errc::kTooSmall, .address = kStatusBytes});
  }
  target.kind = BlkRequest::Kind::kRefused;
  target.offset = 0;
  target.data = {};
  target.range_count = 0;
  target.refusal = VIRTIO_BLK_S_IOERR;
  if (chain.readable_bytes() < kHeaderBytes) return {};
  target.refusal = parse_known(chain, limits, target);
  if (target.refusal != VIRTIO_BLK_S_OK) target.kind = BlkRequest::Kind::kRefused;
  return {};
}

}  // namespace airlock::device
