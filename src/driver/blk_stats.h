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

/// Adds each number as it is at some moment of the call.
inline BlkStats& operator+=(BlkStats& sum, const BlkCounters& queue) {
  sum.requests += queue.requests.get();
  sum.errors += queue.errors.get();
  sum.parts += queue.parts.get();
  sum.bytes_read += queue.bytes_read.get();
  sum.bytes_written += queue.bytes_written.get();
  sum.copies += queue.copies.get();
  sum.bytes_copied += queue.bytes_copied.get();
  sum.notifications += queue.notifications.get();
  sum.interrupts += queue.interrupts.get();
  sum.sleeps += queue.sleeps.get();
  sum.empty_polls += queue.empty_polls.get();
  sum.ring_full += queue.ring_full.get();
  sum.pool_full += queue.pool_full.get();
  return sum;
}

/// What was counted between `before` and `now`.
inline BlkStats operator-(BlkStats now, const BlkStats& before) {
  now.requests -= before.requests;
  now.errors -= before.errors;
  now.parts -= before.parts;
  now.bytes_read -= before.bytes_read;
  now.bytes_written -= before.bytes_written;
  now.copies -= before.copies;
  now.bytes_copied -= before.bytes_copied;
  now.notifications -= before.notifications;
  now.interrupts -= before.interrupts;
  now.sleeps -= before.sleeps;
  now.empty_polls -= before.empty_polls;
  now.ring_full -= before.ring_full;
  now.pool_full -= before.pool_full;
  return now;
}

}  // namespace airlock::driver
