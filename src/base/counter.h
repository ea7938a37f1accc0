// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

namespace airlock {

/// A number with one writer, who so needs no locked instruction; any thread may read it.
class Counter {
 public:
  Counter& operator+=(std::uint64_t count) {
    value_.store(get() + count, std::memory_order_relaxed);
    return *this;
  }
  Counter& operator-=(std::uint64_t count) { return *this += -count; }
  Counter& operator++() { return *this += 1; }
  [[nodiscard]] std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

}  // namespace airlock
