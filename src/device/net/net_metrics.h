// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/counter.h"

namespace airlock::device {

/// What one queue, or a whole network card, did since the start. Plain numbers.
struct NetCounts {
  std::uint64_t received = 0;        // frames that the driver got
  std::uint64_t received_bytes = 0;  // of these, without headers
  std::uint64_t filtered = 0;        // frames that the driver does not want
  std::uint64_t unfit = 0;       // frames for the driver that its buffers or features don't take
  std::uint64_t sent = 0;        // frames that the backend took
  std::uint64_t sent_bytes = 0;  // of these, without headers
  std::uint64_t refused = 0;     // frames and commands that the driver got wrong
  std::uint64_t unsent = 0;      // frames that the backend dropped
  std::uint64_t waits = 0;       // frames that found the backend full, or no buffer
  std::uint64_t commands = 0;    // control commands carried out

  NetCounts& operator+=(const NetCounts& other);
  friend bool operator==(const NetCounts&, const NetCounts&) = default;
};

/// The counters of one queue: its thread adds, any thread reads. On a cache line of its own.
struct alignas(64) NetQueueMetrics {
  Counter received;
  Counter received_bytes;
  Counter filtered;
  Counter unfit;
  Counter sent;
  Counter sent_bytes;
  Counter refused;
  Counter unsent;
  Counter waits;
  Counter commands;

  /// Each number as it was at some moment of the call.
  [[nodiscard]] NetCounts snapshot() const;
};

}  // namespace airlock::device
