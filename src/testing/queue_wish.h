// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "ring/features.h"

namespace airlock::testing {

/// What one side wants to be told of by the other, in requests. With VIRTIO_F_EVENT_IDX that is
/// the one that it would take next, as it was when the side said so or last found none; but a
/// packed ring's side wants all, until it said anything or found none.
class QueueWish {
 public:
  explicit QueueWish(const ring::Features& features)
      : event_idx_(features.event_idx), packed_(features.format == ring::Format::kPacked) {
    if (event_idx_ && !packed_) event_ = 0;
  }
  void want(bool wanted) {
    wanted_ = wanted;
    found_none();
  }
  void found_none() {
    if (wanted_ && event_idx_) event_ = taken_;
  }
  void took_one() { ++taken_; }
  /// The other side shows `count` more requests, and says so or not: whether it is as wished.
  [[nodiscard]] bool granted(std::uint64_t count, bool told) {
    const std::uint64_t before = std::exchange(shown_, shown_ + count);
    if (count == 0 || !wanted_) return !told;
    if (!event_) return told;
    // A place in a packed ring comes again after two laps: an old event may be taken for a new.
    if (*event_ < before) return !told || packed_;
    return told;
  }

 private:
  bool event_idx_;
  bool packed_;
  bool wanted_ = true;
  std::optional<std::uint64_t> event_;
  std::uint64_t shown_ = 0;
  std::uint64_t taken_ = 0;
};

}  // namespace airlock::testing
