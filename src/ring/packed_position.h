// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "ring/queue_size.h"

namespace airlock::ring {

/// Where a side stands in a packed ring: a slot, and the wrap counter, which starts at 1 and turns
/// with each lap. Private: the peer's flags are compared with it. VIRTIO 1.3, 2.8.1.
class PackedPosition {
 public:
  [[nodiscard]] constexpr std::uint16_t slot() const { return slot_; }
  [[nodiscard]] constexpr bool wrap() const { return wrap_; }
  /// Slot in bits 0 to 14, wrap counter in bit 15: as an event suppression structure has it, and a
  /// notification. VIRTIO 1.3, 2.8.14, 4.1.5.2.
  [[nodiscard]] constexpr std::uint16_t off_wrap() const {
    return static_cast<std::uint16_t>(slot_ | (wrap_ ? 0x8000U : 0U));
  }

  /// Goes on by `slots`, at most `size`.
  constexpr void advance(std::uint32_t slots, QueueSize size) {
    const std::uint32_t sum = slot_ + slots;
    const bool turned = sum >= size.value();
    slot_ = static_cast<std::uint16_t>(turned ? sum - size.value() : sum);
    wrap_ = wrap_ != turned;
  }

  friend constexpr bool operator==(PackedPosition, PackedPosition) = default;

 private:
  std::uint16_t slot_ = 0;  // below the queue size
  bool wrap_ = true;
};

}  // namespace airlock::ring
