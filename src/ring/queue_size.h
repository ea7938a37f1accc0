// SPDX-License-Identifier: Apache-2.0
//
// The numbers of a ring as types: how many slots, and an index that only wraps.
#pragma once

#include <bit>
#include <cstdint>

#include "base/result.h"
#include "spec/virtio_ring.h"

namespace airlock::ring {

/// The two layouts of a virtqueue. VIRTIO 1.3, 2.7 and 2.8.
enum class Format : std::uint8_t { kSplit, kPacked };

/// Slots of a ring: 1 to 32768, and of a split one a power of two. VIRTIO 1.3, 2.7, 2.8.10.1.
class QueueSize {
 public:
  /// Errors: kBadQueueSize, with `slots` as the detail.
  static constexpr Result<QueueSize> from(std::uint32_t slots, Format format = Format::kSplit) {
    const bool fits = format == Format::kPacked || std::has_single_bit(slots);
    if (slots == 0 || slots > spec::VIRTQ_SIZE_MAX || !fits) {
      return fail({.code = Errc::kBadQueueSize, .detail = slots});
    }
    return QueueSize(slots);
  }

  [[nodiscard]] constexpr std::uint32_t value() const { return slots_; }
  /// Of a split ring only.
  [[nodiscard]] constexpr std::uint16_t mask() const {
    return static_cast<std::uint16_t>(slots_ - 1);
  }

  friend constexpr bool operator==(QueueSize, QueueSize) = default;

 private:
  constexpr explicit QueueSize(std::uint32_t slots) : slots_(slots) {}
  std::uint32_t slots_;
};

/// An index of a split ring: free-running, modulo 2^16. It has a distance and a successor, and no
/// order.
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
  /// The index before: 2^16 - 1 steps ahead.
  [[nodiscard]] constexpr RingIndex previous() const {
    return RingIndex(static_cast<std::uint16_t>(value_ - 1));
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
