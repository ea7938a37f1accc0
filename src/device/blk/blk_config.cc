// SPDX-License-Identifier: Apache-2.0
#include "device/blk/blk_config.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "base/checked.h"
#include "spec/virtio.h"

namespace airlock::device {

namespace {

using spec::feature;

constexpr std::uint64_t kSectorBytes = spec::VIRTIO_BLK_SECTOR_BYTES;
/// Longer ranges are the driver's to split: a request has to end some time, even where the backend
/// can only write zeros out.
constexpr std::uint64_t kDiscardBytesMost = std::uint64_t{1} << 30;
constexpr std::uint64_t kWriteZeroesBytesMost = std::uint64_t{64} << 20;
/// More segments than this no driver uses.
constexpr std::uint32_t kSegmentsMost = 254;
/// A request needs a descriptor each for its header and its status.
constexpr std::uint32_t kDescriptorsBeside = 2;

/// Sectors of the largest range, of the backend's own limit and ours.
Le32 range_sectors(std::uint64_t own_limit, std::uint64_t most) {
  const std::uint64_t bytes = own_limit == 0 ? most : std::min(own_limit, most);
  return Le32(saturate<std::uint32_t>(bytes / kSectorBytes));
}

struct Segments {
  std::uint32_t count = 0;
  std::uint32_t bytes = 0;  // of one at most; 0: no bound
};

/// As many as a chain has room for, and together no more than a request may have. Whole pages, as
/// drivers cut their buffers.
Segments segments_of(const BlkShape& shape) {
  constexpr std::uint64_t kPageBytes = 4096;
  const std::uint32_t most = std::min(kSegmentsMost, shape.queue_size - kDescriptorsBeside);
  if (shape.request_bytes_max == 0) return {.count = most};
  const std::uint64_t bytes =
      std::max(shape.request_bytes_max / most / kPageBytes * kPageBytes, kPageBytes);
  const std::uint64_t count = std::max<std::uint64_t>(shape.request_bytes_max / bytes, 1);
  return {.count = static_cast<std::uint32_t>(std::min<std::uint64_t>(count, most)),
          .bytes = saturate<std::uint32_t>(bytes)};
}

}  // namespace

std::uint64_t blk_features(const backend::Geometry& geometry, const BlkShape& shape) {
  std::uint64_t features = feature(spec::VIRTIO_BLK_F_SEG_MAX) |
                           feature(spec::VIRTIO_BLK_F_BLK_SIZE) |
                           feature(spec::VIRTIO_BLK_F_FLUSH) | feature(spec::VIRTIO_BLK_F_TOPOLOGY);
  if (shape.request_bytes_max > 0) features |= feature(spec::VIRTIO_BLK_F_SIZE_MAX);
  if (shape.queues > 1) features |= feature(spec::VIRTIO_BLK_F_MQ);
  if (geometry.read_only) return features | feature(spec::VIRTIO_BLK_F_RO);
  if (geometry.can_discard) features |= feature(spec::VIRTIO_BLK_F_DISCARD);
  if (geometry.can_write_zeroes) features |= feature(spec::VIRTIO_BLK_F_WRITE_ZEROES);
  return features;
}

spec::VirtioBlkConfig blk_config(const backend::Geometry& geometry, const BlkShape& shape) {
  CHECK(geometry.capacity_bytes > 0 && geometry.capacity_bytes % kSectorBytes == 0);
  CHECK(std::has_single_bit(geometry.logical_block_bytes));
  CHECK(geometry.physical_block_bytes >= geometry.logical_block_bytes);
  CHECK(shape.queue_size > kDescriptorsBeside);
  const std::uint32_t per_physical = geometry.physical_block_bytes / geometry.logical_block_bytes;
  CHECK(std::has_single_bit(per_physical));
  spec::VirtioBlkConfig config{};
  config.capacity.set(geometry.capacity_bytes / kSectorBytes);
  const Segments segments = segments_of(shape);
  config.size_max.set(segments.bytes);
  config.seg_max.set(segments.count);
  config.blk_size.set(geometry.logical_block_bytes);
  config.physical_block_exp = static_cast<std::uint8_t>(std::countr_zero(per_physical));
  config.min_io_size.set(saturate<std::uint16_t>(per_physical));
  config.opt_io_size.set(geometry.optimal_io_bytes / geometry.logical_block_bytes);
  config.num_queues.set(shape.queues);
  if (geometry.can_discard && !geometry.read_only) {
    config.max_discard_sectors = range_sectors(geometry.max_discard_bytes, kDiscardBytesMost);
    config.max_discard_seg.set(kBlkRangesMost);
    config.discard_sector_alignment.set(
        static_cast<std::uint32_t>(geometry.discard_alignment_bytes / kSectorBytes));
  }
  if (geometry.can_write_zeroes && !geometry.read_only) {
    config.max_write_zeroes_sectors =
        range_sectors(geometry.max_write_zeroes_bytes, kWriteZeroesBytesMost);
    config.max_write_zeroes_seg.set(kBlkRangesMost);
    // 5.2.6.2: cleared iff write zeroes can't deallocate.
    config.write_zeroes_may_unmap = geometry.can_discard ? 1 : 0;
  }
  return config;
}

BlkLimits blk_limits(const backend::Geometry& geometry, const spec::VirtioBlkConfig& config,
                     std::uint64_t features) {
  const auto has = [features](unsigned bit) { return (features & feature(bit)) != 0; };
  return {.capacity_bytes = geometry.capacity_bytes,
          .read_only = geometry.read_only,
          .flush = has(spec::VIRTIO_BLK_F_FLUSH),
          .discard = has(spec::VIRTIO_BLK_F_DISCARD),
          .write_zeroes = has(spec::VIRTIO_BLK_F_WRITE_ZEROES),
          .max_discard_sectors = config.max_discard_sectors.get(),
          .max_discard_ranges = config.max_discard_seg.get(),
          .max_write_zeroes_sectors = config.max_write_zeroes_sectors.get(),
          .max_write_zeroes_ranges = config.max_write_zeroes_seg.get()};
}

}  // namespace airlock::device
