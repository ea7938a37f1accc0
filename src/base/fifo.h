// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "base/check.h"

namespace airlock {

/// First in, first out, in one piece of memory that it keeps: where std::deque gives its memory
/// back and takes it again on the way, this allocates only to hold more than ever before.
template <class T>
class Fifo {
 public:
  [[nodiscard]] bool empty() const { return head_ == items_.size(); }
  [[nodiscard]] std::size_t size() const { return items_.size() - head_; }
  void reserve(std::size_t count) { items_.reserve(count); }

  [[nodiscard]] T& front() {
    CHECK(!empty());
    return items_[head_];
  }
  void push_back(T item) { emplace_back() = std::move(item); }
  /// A new last one, to be filled in.
  T& emplace_back() {
    // Before it would grow: what was taken makes room, if that is half of it at least.
    if (items_.size() == items_.capacity() && head_ >= size() && head_ > 0) close_gap();
    return items_.emplace_back();
  }
  void pop_front() {
    CHECK(!empty());
    ++head_;
    if (empty()) clear();
  }
  /// Takes as many as there are and `target` has room for, oldest first; how many.
  std::size_t take(std::span<T> target) {
    const std::size_t count = std::min(target.size(), size());
    for (T& item : target.first(count)) {
      item = std::move(front());
      pop_front();
    }
    return count;
  }
  void clear() {
    items_.clear();
    head_ = 0;
  }

  // Oldest first.
  [[nodiscard]] auto begin() { return items_.begin() + static_cast<std::ptrdiff_t>(head_); }
  [[nodiscard]] auto end() { return items_.end(); }
  [[nodiscard]] auto begin() const { return items_.begin() + static_cast<std::ptrdiff_t>(head_); }
  [[nodiscard]] auto end() const { return items_.end(); }
  void erase(typename std::vector<T>::iterator item) { items_.erase(item); }

 private:
  void close_gap() {
    items_.erase(items_.begin(), begin());
    head_ = 0;
  }

  std::vector<T> items_;  // those before head_ were taken
  std::size_t head_ = 0;
};

}  // namespace airlock
