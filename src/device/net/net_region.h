// SPDX-License-Identifier: Apache-2.0
//
// How a network card's frames fit into its region: every byte in flight has to.
#pragma once

#include <cstdint>

#include "device/net/net_config.h"

namespace airlock::device {

/// Bytes of the smallest region in which each queue has its ring, each receive queue as many small
/// buffers as it has entries, and each transmit queue a few frames of the largest size; a power of
/// two. Less, and a driver that bounces could wait for itself for ever.
[[nodiscard]] std::uint64_t net_region_bytes_min(const NetShape& shape);

}  // namespace airlock::device
