// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

namespace airlock::driver {

/// A number with one writer, who so needs no locked instruction; any thread may read it.
class Counter {
 public:
  Counter& operator+=(std::uint64_t count) {
    value_.store(get() + count, std::memory_order_relaxed);
    return *this;
  }
  Counter& operator++() { return *this += 1; }
  [[nodiscard]] std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

template <class Number>
struct BlkNumbers {
  Number requests{};       // completed, good and bad
  Number errors{};         // of those, with an error
  Number parts{};          // put into the ring
  Number bytes_read{};     // successfully
  Number bytes_written{};  // successfully
  Number bytes_copied{};   // of those, through the pool
  Number notifications{};  // doorbells rung
  Number sleeps{};         // waits that ended in the kernel
  Number ring_full{};      // times the ring had no room
  Number pool_full{};      // times the pool had none
};

/// What a queue, or a whole disk, did since it was made.
using BlkStats = BlkNumbers<std::uint64_t>;
/// The same as a queue's thread counts it.
using BlkCounters = BlkNumbers<Counter>;

/// Adds each number as it is at some moment of the call.
inline BlkStats& operator+=(BlkStats& sum, const BlkCounters& queue) {
  sum.requests += queue.requests.get();
  sum.errors += queue.errors.get();
  sum.parts += queue.parts.get();
  sum.bytes_read += queue.bytes_read.get();
  sum.bytes_written += queue.bytes_written.get();
  sum.bytes_copied += queue.bytes_copied.get();
  sum.notifications += queue.notifications.get();
  sum.sleeps += queue.sleeps.get();
  sum.ring_full += queue.ring_full.get();
  sum.pool_full += queue.pool_full.get();
  return sum;
}

}  // namespace airlock::driver
