// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace airlock::device {

/// Bytes of the smallest region in which a driver has the rings of a socket device with queues of
/// `queue_size` entries, a page for each packet that it may receive, and a few of the largest that
/// it sends; a power of two.
[[nodiscard]] std::uint64_t vsock_region_bytes_min(std::uint16_t queue_size);

}  // namespace airlock::device
