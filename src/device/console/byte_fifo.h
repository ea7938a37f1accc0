// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

#include "base/check.h"

namespace airlock::device {

/// Bytes on their way, so many at most.
class ByteFifo {
 public:
  explicit ByteFifo(std::size_t capacity) : bytes_(capacity) { CHECK(capacity > 0); }

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] std::size_t room() const { return bytes_.size() - size_; }

  /// Appends what there is room for; how many bytes that were.
  std::size_t put(std::span<const std::byte> source) {
    const std::size_t count = std::min(source.size(), room());
    const std::size_t end = (first_ + size_) % bytes_.size();
    const std::size_t straight = std::min(count, bytes_.size() - end);
    std::copy_n(source.begin(), straight, bytes_.begin() + static_cast<std::ptrdiff_t>(end));
    std::copy_n(source.begin() + static_cast<std::ptrdiff_t>(straight), count - straight,
                bytes_.begin());
    size_ += count;
    return count;
  }
  /// Copies the oldest bytes, and keeps them; how many.
  std::size_t peek(std::span<std::byte> target) const {
    const std::size_t count = std::min(target.size(), size_);
    const std::size_t straight = std::min(count, bytes_.size() - first_);
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(first_), straight, target.begin());
    std::copy_n(bytes_.begin(), count - straight,
                target.begin() + static_cast<std::ptrdiff_t>(straight));
    return count;
  }
  /// Forgets the oldest `count` bytes: at most size() (CHECK).
  void drop(std::size_t count) {
    CHECK(count <= size_);
    first_ = (first_ + count) % bytes_.size();
    size_ -= count;
  }
  void clear() { drop(size_); }

 private:
  std::vector<std::byte> bytes_;
  std::size_t first_ = 0;
  std::size_t size_ = 0;
};

}  // namespace airlock::device
