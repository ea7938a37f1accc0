// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "ring/queue_size.h"

namespace airlock::ring {

/// Where a side stands in a packed ring: a slot, and the wrap counter, which starts at 1 and turns
/// with each lap. Private: the peer's flags are compared with it. VIRTIO 1.3, 2.8.1.
class PackedPosition {
 public:
  constexpr PackedPosition() = default;
  /// From a number that off_wrap() gave. Whether there is such a slot is the caller's to check.
  static constexpr PackedPosition from(std::uint16_t off_wrap) {
    PackedPosition position;
    position.off_wrap_ = off_wrap;
    return position;
  }
  [[nodiscard]] constexpr std::uint16_t slot() const {
    return static_cast<std::uint16_t>(off_wrap_ & 0x7fffU);
  }
  [[nodiscard]] constexpr bool wrap() const { return (off_wrap_ & 0x8000U) != 0; }
  /// Slot in bits 0 to 14, wrap counter in bit 15: as an event suppression structure has it, and a
  /// notification. VIRTIO 1.3, 2.8.14, 4.1.5.2.
  [[nodiscard]] constexpr std::uint16_t off_wrap() const { return off_wrap_; }

  /// Goes on by `slots`, at most `size`.
  constexpr void advance(std::uint32_t slots, QueueSize size) {
    const std::uint32_t lap = off_wrap_ & 0x8000U;
    const std::uint32_t sum = slot() + slots;
    off_wrap_ = static_cast<std::uint16_t>(
        sum < size.value() ? sum | lap : (sum - size.value()) | (lap ^ 0x8000U));
  }

  friend constexpr bool operator==(PackedPosition, PackedPosition) = default;

 private:
  std::uint16_t off_wrap_ = 0x8000;  // the slot is below the queue size
};

}  // namespace airlock::ring
