// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <utility>

#include "core/descriptor.h"
#include "ring/driver_types.h"
#include "spec/virtio_ring.h"

namespace airlock::ring {

/// Calls put(index, descriptor) for each buffer of a request, readable ones first. Of the flags
/// only WRITE is there, and `next` is 0: what links a chain is the format's.
/// VIRTIO 1.3, 2.7.4.2, 2.8.8.
template <class Put>
void for_each_descriptor(const window::Publisher& publisher, std::span<const Buffer> readable,
                         std::span<const Buffer> writable, const Put& put) {
  std::uint32_t index = 0;
  for (const auto& [buffers, direction] :
       {std::pair{readable, std::uint16_t{0}}, std::pair{writable, spec::VIRTQ_DESC_F_WRITE}}) {
    for (const Buffer& buffer : buffers) {
      put(index++,
          airlock_descriptor{.address = std::to_underlying(publisher.publish(buffer.offset)),
                             .length = buffer.length,
                             .flags = direction,
                             .next = 0});
    }
  }
}

}  // namespace airlock::ring
