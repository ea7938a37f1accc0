// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"
#include "spec/virtio.h"
#include "spec/virtio_blk.h"

namespace airlock::driver {

/// What this driver can work with; each is accepted if offered.
inline constexpr std::uint64_t kBlkFeatures =
    spec::feature(spec::VIRTIO_BLK_F_SIZE_MAX) | spec::feature(spec::VIRTIO_BLK_F_SEG_MAX) |
    spec::feature(spec::VIRTIO_BLK_F_RO) | spec::feature(spec::VIRTIO_BLK_F_BLK_SIZE) |
    spec::feature(spec::VIRTIO_BLK_F_FLUSH) | spec::feature(spec::VIRTIO_BLK_F_TOPOLOGY) |
    spec::feature(spec::VIRTIO_BLK_F_MQ) | spec::feature(spec::VIRTIO_BLK_F_DISCARD) |
    spec::feature(spec::VIRTIO_BLK_F_WRITE_ZEROES);

/// The disk as its configuration described it, checked once and never read again (HD-12, HD-13).
struct BlkInfo {
  std::uint64_t capacity_bytes = 0;  // whole blocks
  std::uint32_t block_bytes = 512;   // what offsets and lengths are multiples of
  std::uint32_t physical_block_bytes = 512;
  std::uint32_t segment_bytes_max = 0xffff'ffff;  // of one data descriptor
  std::uint32_t segments_max = 1;                 // data descriptors of one request
  std::uint64_t discard_bytes_max = 0;            // of one request; 0: no discard
  std::uint64_t write_zeroes_bytes_max = 0;       // of one request; 0: not offered
  std::uint16_t queues = 1;
  bool read_only = false;
  bool has_flush = false;
  bool write_zeroes_may_unmap = false;

  friend bool operator==(const BlkInfo&, const BlkInfo&) = default;
};

/// The widths of VirtioBlkConfig's fields, as far as they are of use here.
std::span<const std::uint8_t> blk_config_widths();

/// Checks `config`, of which the device has the first `available` bytes, under the accepted
/// `features`. Errors: kMalformed, with the offset of the field that makes no sense.
/// VIRTIO 1.3, 5.2.4.
Result<BlkInfo> parse_blk_config(const spec::VirtioBlkConfig& config, std::size_t available,
                                 std::uint64_t features);

}  // namespace airlock::driver
