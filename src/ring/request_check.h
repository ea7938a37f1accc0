// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "ring/driver_types.h"
#include "ring/layout.h"

namespace airlock::ring {

/// The driver's own check of a request, before anything of it is written, in either format: whether
/// the buffers make a chain, and all lie in the region of `region_bytes` bytes. Returns the bytes
/// of the writable ones. Errors, with the queue: kBadLength (no buffer, or an empty one),
/// kChainTooLong (more buffers than the queue has slots), kChainTooBig (2^32 bytes or more),
/// kOutOfRange (a buffer outside the region, or at offset 0 in offset mode; with its length and
/// offset). VIRTIO 1.3, 2.7.4.2, 2.7.5.2, 2.8.17; GEN-DR2, DMB-DR3, HD-28.
Result<std::uint32_t> check_request(const DriverQueueConfig& config, std::uint64_t region_bytes,
                                    std::span<const Buffer> readable,
                                    std::span<const Buffer> writable);

}  // namespace airlock::ring
