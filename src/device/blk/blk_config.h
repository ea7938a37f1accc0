// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "backend/block_backend.h"
#include "device/blk/blk_request.h"
#include "spec/virtio_blk.h"

namespace airlock::device {

/// What of a disk is chosen, not given by its backend.
struct BlkShape {
  std::uint16_t queues = 1;
  std::uint16_t queue_size = 256;  // entries, a power of two, at least 4
  /// Bytes of data in one request, at least 64 KiB; 0: no bound. For a region that is small, since
  /// a driver that bounces has to find room there for all of it.
  std::uint64_t request_bytes_max = 0;
};

/// Bytes of the configuration that the device has: up to the fields of features it never offers.
inline constexpr std::size_t kBlkConfigBytes =
    offsetof(spec::VirtioBlkConfig, max_secure_erase_sectors);

/// The device type's own features. VIRTIO 1.3, 5.2.3.
[[nodiscard]] std::uint64_t blk_features(const backend::Geometry& geometry, const BlkShape& shape);

/// The configuration as the driver reads it. VIRTIO 1.3, 5.2.4.
[[nodiscard]] spec::VirtioBlkConfig blk_config(const backend::Geometry& geometry,
                                               const BlkShape& shape);

/// What requests of a driver that accepted `features` are checked against.
[[nodiscard]] BlkLimits blk_limits(const backend::Geometry& geometry,
                                   const spec::VirtioBlkConfig& config, std::uint64_t features);

}  // namespace airlock::device
