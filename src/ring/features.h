// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "ring/queue_size.h"
#include "spec/virtio.h"

namespace airlock::ring {

/// What driver and device agreed upon for their rings. VIRTIO 1.3, 6.
struct Features {
  Format format = Format::kSplit;
  bool indirect = false;   // VIRTIO_F_INDIRECT_DESC
  bool event_idx = false;  // VIRTIO_F_EVENT_IDX
  bool in_order = false;   // VIRTIO_F_IN_ORDER

  /// The feature bits that a ring has to do with.
  static constexpr std::uint64_t kMask =
      spec::feature(spec::VIRTIO_F_RING_PACKED) | spec::feature(spec::VIRTIO_F_INDIRECT_DESC) |
      spec::feature(spec::VIRTIO_F_EVENT_IDX) | spec::feature(spec::VIRTIO_F_IN_ORDER);

  /// Of negotiated feature bits, bit n being feature n.
  static constexpr Features from(std::uint64_t negotiated) {
    const auto has = [negotiated](unsigned bit) { return (negotiated & spec::feature(bit)) != 0; };
    return {.format = has(spec::VIRTIO_F_RING_PACKED) ? Format::kPacked : Format::kSplit,
            .indirect = has(spec::VIRTIO_F_INDIRECT_DESC),
            .event_idx = has(spec::VIRTIO_F_EVENT_IDX),
            .in_order = has(spec::VIRTIO_F_IN_ORDER)};
  }

  friend constexpr bool operator==(const Features&, const Features&) = default;
};

}  // namespace airlock::ring
