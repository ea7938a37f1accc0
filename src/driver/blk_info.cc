// SPDX-License-Identifier: Apache-2.0
#include "driver/blk_info.h"

#include <algorithm>
#include <array>

#include "core/range.h"

namespace airlock::driver {

namespace {

using Config = spec::VirtioBlkConfig;

constexpr std::uint64_t kSector = spec::VIRTIO_BLK_SECTOR_BYTES;
constexpr std::uint32_t kBlockBytesMax = 64 * 1024;
constexpr std::uint32_t kPhysicalExpMax = 15;  // 64 KiB << 15 still fits 32 bits
constexpr std::uint64_t kSectorsMax = (std::uint64_t{1} << 63) / kSector;

constexpr std::array<std::uint8_t, 23> kWidths{4, 4, 4, 4, 2, 1, 1, 4, 1, 1, 2, 4,
                                               1, 1, 2, 4, 4, 4, 4, 4, 1, 1, 2};

class Parser {
 public:
  Parser(const Config& config, std::size_t available, std::uint64_t features)
      : config_(config), available_(available), features_(features) {}

  Result<BlkInfo> parse() {
    TRY(parse_sizes());
    TRY(parse_limits());
    TRY(parse_ranges());
    info_.read_only = has(spec::VIRTIO_BLK_F_RO);
    info_.has_flush = has(spec::VIRTIO_BLK_F_FLUSH);
    return info_;
  }

 private:
  [[nodiscard]] bool has(unsigned bit) const { return (features_ & spec::feature(bit)) != 0; }
  static std::unexpected<Error> malformed(std::size_t offset) {
    return fail({.code = Errc::kMalformed, .detail = static_cast<std::uint32_t>(offset)});
  }
  /// The field of a feature must be there.
  Result<void> need(std::size_t offset, std::size_t size) const {
    if (!airlock_range_within(offset, size, available_)) return malformed(offset);
    return {};
  }

  Result<void> parse_sizes() {
    TRY(need(offsetof(Config, capacity), sizeof config_.capacity));
    if (has(spec::VIRTIO_BLK_F_BLK_SIZE)) {
      TRY(need(offsetof(Config, blk_size), sizeof config_.blk_size));
      const std::uint32_t size = config_.blk_size.get();
      if (!airlock_is_power_of_two(size) || size < kSector || size > kBlockBytesMax) {
        return malformed(offsetof(Config, blk_size));
      }
      info_.block_bytes = size;
    }
    info_.physical_block_bytes = info_.block_bytes;
    if (has(spec::VIRTIO_BLK_F_TOPOLOGY)) {
      TRY(need(offsetof(Config, physical_block_exp), 8));
      const std::uint32_t exponent = config_.physical_block_exp;
      if (exponent > kPhysicalExpMax) return malformed(offsetof(Config, physical_block_exp));
      info_.physical_block_bytes = info_.block_bytes << exponent;
    }
    const std::uint64_t sectors = config_.capacity.get();
    if (sectors > kSectorsMax) return malformed(offsetof(Config, capacity));
    info_.capacity_bytes = sectors * kSector / info_.block_bytes * info_.block_bytes;
    return {};
  }

  Result<void> parse_limits() {
    if (has(spec::VIRTIO_BLK_F_SIZE_MAX)) {
      TRY(need(offsetof(Config, size_max), sizeof config_.size_max));
      info_.segment_bytes_max = config_.size_max.get();
      if (info_.segment_bytes_max == 0) return malformed(offsetof(Config, size_max));
    }
    if (has(spec::VIRTIO_BLK_F_SEG_MAX)) {
      TRY(need(offsetof(Config, seg_max), sizeof config_.seg_max));
      info_.segments_max = config_.seg_max.get();
      if (info_.segments_max == 0) return malformed(offsetof(Config, seg_max));
    }
    if (has(spec::VIRTIO_BLK_F_MQ)) {
      TRY(need(offsetof(Config, num_queues), sizeof config_.num_queues));
      info_.queues = config_.num_queues.get();
      if (info_.queues == 0) return malformed(offsetof(Config, num_queues));
    }
    return {};
  }

  // The largest range of a request, in whole blocks.
  Result<std::uint64_t> range_max(std::size_t offset, std::uint32_t sectors,
                                  std::uint32_t segments) const {
    const std::uint64_t bytes = sectors * kSector / info_.block_bytes * info_.block_bytes;
    if (bytes == 0 || segments == 0) return malformed(offset);
    return bytes;
  }

  Result<void> parse_ranges() {
    if (has(spec::VIRTIO_BLK_F_DISCARD)) {
      TRY(need(offsetof(Config, max_discard_sectors), 12));
      info_.discard_bytes_max =
          TRY(range_max(offsetof(Config, max_discard_sectors), config_.max_discard_sectors.get(),
                        config_.max_discard_seg.get()));
    }
    if (has(spec::VIRTIO_BLK_F_WRITE_ZEROES)) {
      TRY(need(offsetof(Config, max_write_zeroes_sectors), 9));
      info_.write_zeroes_bytes_max = TRY(range_max(offsetof(Config, max_write_zeroes_sectors),
                                                   config_.max_write_zeroes_sectors.get(),
                                                   config_.max_write_zeroes_seg.get()));
      info_.write_zeroes_may_unmap = config_.write_zeroes_may_unmap != 0;
    }
    return {};
  }

  const Config& config_;
  std::size_t available_;
  std::uint64_t features_;
  BlkInfo info_;
};

}  // namespace

std::span<const std::uint8_t> blk_config_widths() {
  return kWidths;
}

Result<BlkInfo> parse_blk_config(const Config& config, std::size_t available,
                                 std::uint64_t features) {
  return Parser(config, available, features).parse();
}

}  // namespace airlock::driver
