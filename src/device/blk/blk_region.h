// SPDX-License-Identifier: Apache-2.0
//
// How a disk's requests fit into its region: every byte in flight has to.
#pragma once

#include <cstdint>

#include "device/blk/blk_config.h"

namespace airlock::device {

/// Bytes of the smallest region in which each queue has its ring and a few requests of 64 KiB; a
/// power of two. Less, and a driver that bounces could wait for itself for ever.
[[nodiscard]] std::uint64_t blk_region_bytes_min(const BlkShape& shape);

/// What BlkShape::request_bytes_max should be for such a region: with half of it for requests that
/// wait, none larger is ever asked for. 0: the region is so large that no bound is needed.
[[nodiscard]] std::uint64_t blk_request_bytes_max(const BlkShape& shape,
                                                  std::uint64_t region_bytes);

}  // namespace airlock::device
