// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "backend/net/net_counters.h"
#include "base/result.h"
#include "spec/virtio_net.h"

namespace airlock::backend {

/// The next frame of a tap interface's queue `fd`, with its header, as NetChannel::receive() has
/// it. What is malformed is dropped and counted, kMalformedInARow at most: then there is none, and
/// the descriptor is readable still. Errors: kSystem (EBADFD: it has no interface).
Result<std::optional<std::size_t>> read_tap_frame(int fd, spec::VirtioNetHdr& header,
                                                  std::span<std::byte> frame,
                                                  NetCounters& counters);

}  // namespace airlock::backend
