// SPDX-License-Identifier: Apache-2.0
//
// The numbers of a ring as types: how many slots, and an index that only wraps.
#pragma once

#include <bit>
#include <cstdint>

#include "base/result.h"
#include "spec/virtio_ring.h"

namespace airlock::ring {

/// Slots of a split ring: a power of two, 1 to 32768. VIRTIO 1.3, 2.7.
class QueueSize {
 public:
  /// Errors: kBadQueueSize, with `slots` as the detail.
  static constexpr Result<QueueSize> from(std::uint32_t slots) {
    if (!std::has_single_bit(slots) || slots > spec::VIRTQ_SIZE_MAX) {
      return fail({.code = Errc::kBadQueueSize, .detail = slots});
    }
    return QueueSize(slots);
  }

  [[nodiscard]] constexpr std::uint32_t value() const { return slots_; }
  [[nodiscard]] constexpr std::uint16_t mask() const {
    return static_cast<std::uint16_t>(slots_ - 1);
  }

  friend constexpr bool operator==(QueueSize, QueueSize) = default;

 private:
  constexpr explicit QueueSize(std::uint32_t slots) : slots_(slots) {}
  std::uint32_t slots_;
};

/// A ring index: free-running, modulo 2^16. It has a distance and a successor, and no order.
class RingIndex {
 public:
  constexpr RingIndex() = default;
  constexpr explicit RingIndex(std::uint16_t value) : value_(value) {}

  [[nodiscard]] constexpr std::uint16_t value() const { return value_; }
  /// The slot of a ring with `size` slots that the index stands at.
  [[nodiscard]] constexpr std::uint16_t slot(QueueSize size) const {
    return static_cast<std::uint16_t>(value_ & size.mask());
  }
  constexpr RingIndex& operator++() {
    ++value_;
    return *this;
  }
  /// Steps forward from `from` to `to`.
  friend constexpr std::uint16_t operator-(RingIndex to, RingIndex from) {
    return static_cast<std::uint16_t>(to.value_ - from.value_);
  }
  friend constexpr bool operator==(RingIndex, RingIndex) = default;

 private:
  std::uint16_t value_ = 0;
};

}  // namespace airlock::ring
