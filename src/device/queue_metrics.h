// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/counter.h"

namespace airlock::device {

/// What it took to run a queue, or all of a device's. Plain numbers.
struct QueueCounts {
  std::uint64_t wake_ups = 0;     // sleeps that ended, for whatever reason
  std::uint64_t naps = 0;         // short ones, of a queue that was at work a moment ago
  std::uint64_t empty_polls = 0;  // looks that found no work
  std::uint64_t interrupts = 0;   // that the driver wanted, and got
  std::uint64_t doorbells = 0;    // sleeps that a notification by eventfd ended

  QueueCounts& operator+=(const QueueCounts& other) {
    wake_ups += other.wake_ups;
    naps += other.naps;
    empty_polls += other.empty_polls;
    interrupts += other.interrupts;
    doorbells += other.doorbells;
    return *this;
  }
};

/// The counters of one queue: its thread adds, any thread reads. On a cache line of its own.
struct alignas(64) QueueMetrics {
  Counter wake_ups;
  Counter naps;
  Counter empty_polls;
  Counter interrupts;
  Counter doorbells;

  /// Each number as it was at some moment of the call.
  [[nodiscard]] QueueCounts snapshot() const {
    return {.wake_ups = wake_ups.get(),
            .naps = naps.get(),
            .empty_polls = empty_polls.get(),
            .interrupts = interrupts.get(),
            .doorbells = doorbells.get()};
  }
};

}  // namespace airlock::device
