// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/counter.h"

namespace airlock::driver {

template <class Number>
struct BlkNumbers {
  Number requests{};       // completed, good and bad
  Number errors{};         // of those, with an error
  Number parts{};          // put into the ring
  Number bytes_read{};     // successfully
  Number bytes_written{};  // successfully
  Number copies{};         // parts whose bytes went through the pool
  Number bytes_copied{};   // of those read and written, through the pool
  Number notifications{};  // doorbells rung
  Number interrupts{};     // taken: several that the device sent may be one
  Number sleeps{};         // waits that ended in the kernel
  Number empty_polls{};    // looks of a wait that found nothing
  Number ring_full{};      // times the ring had no room
  Number pool_full{};      // times the pool had none
};

/// What a queue, or a whole disk, did since it was made.
using BlkStats = BlkNumbers<std::uint64_t>;
/// The same as a queue's thread counts it.
using BlkCounters = BlkNumbers<Counter>;

/// Calls visit(number, other's number) for each.
template <class Number, class Other, class Visit>
void for_each_number(BlkNumbers<Number>& numbers, const BlkNumbers<Other>& other,
                     const Visit& visit) {
  visit(numbers.requests, other.requests);
  visit(numbers.errors, other.errors);
  visit(numbers.parts, other.parts);
  visit(numbers.bytes_read, other.bytes_read);
  visit(numbers.bytes_written, other.bytes_written);
  visit(numbers.copies, other.copies);
  visit(numbers.bytes_copied, other.bytes_copied);
  visit(numbers.notifications, other.notifications);
  visit(numbers.interrupts, other.interrupts);
  visit(numbers.sleeps, other.sleeps);
  visit(numbers.empty_polls, other.empty_polls);
  visit(numbers.ring_full, other.ring_full);
  visit(numbers.pool_full, other.pool_full);
}

/// Adds each number as it is at some moment of the call.
inline BlkStats& operator+=(BlkStats& sum, const BlkCounters& queue) {
  for_each_number(sum, queue,
                  [](std::uint64_t& number, const Counter& more) { number += more.get(); });
  return sum;
}

/// What was counted between `before` and `now`.
inline BlkStats operator-(BlkStats now, const BlkStats& before) {
  for_each_number(now, before, [](std::uint64_t& number, std::uint64_t less) { number -= less; });
  return now;
}

}  // namespace airlock::driver
