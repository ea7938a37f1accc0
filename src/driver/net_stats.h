// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/counter.h"

namespace airlock::driver {

template <class Number>
struct NetNumbers {
  Number frames{};         // received, or sent and given back
  Number bytes{};          // of those, without headers
  Number nonsense{};       // received, and dropped for their header or their length
  Number copies{};         // of frames to send: into the region
  Number notifications{};  // doorbells rung
  Number interrupts{};     // taken
  Number sleeps{};         // waits that ended in the kernel
};

/// What a queue did since it was made.
using NetStats = NetNumbers<std::uint64_t>;
/// The same as a queue's thread counts it.
using NetCounters = NetNumbers<Counter>;

/// Adds each number as it is at some moment of the call.
inline NetStats& operator+=(NetStats& sum, const NetCounters& queue) {
  sum.frames += queue.frames.get();
  sum.bytes += queue.bytes.get();
  sum.nonsense += queue.nonsense.get();
  sum.copies += queue.copies.get();
  sum.notifications += queue.notifications.get();
  sum.interrupts += queue.interrupts.get();
  sum.sleeps += queue.sleeps.get();
  return sum;
}

}  // namespace airlock::driver
