// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/counter.h"

namespace airlock::device {

/// What one queue, or a whole disk, did since the start. Plain numbers.
struct BlkCounts {
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::uint64_t flushes = 0;
  std::uint64_t discards = 0;
  std::uint64_t write_zeroes = 0;
  std::uint64_t get_ids = 0;
  std::uint64_t read_bytes = 0;     // of reads that succeeded
  std::uint64_t written_bytes = 0;  // of writes that succeeded
  std::uint64_t refused = 0;        // requests that the driver got wrong, or has no right to
  std::uint64_t io_errors = 0;      // requests that the backend failed
  std::uint64_t held = 0;           // times that a request was held to be tried again
  std::uint64_t waits = 0;          // requests that found the backend full

  BlkCounts& operator+=(const BlkCounts& other);
  friend bool operator==(const BlkCounts&, const BlkCounts&) = default;
};

/// The counters of one queue: its thread adds, any thread reads. On a cache line of its own.
struct alignas(64) BlkQueueMetrics {
  Counter reads;
  Counter writes;
  Counter flushes;
  Counter discards;
  Counter write_zeroes;
  Counter get_ids;
  Counter read_bytes;
  Counter written_bytes;
  Counter refused;
  Counter io_errors;
  Counter held;
  Counter waits;

  /// Each number as it was at some moment of the call.
  [[nodiscard]] BlkCounts snapshot() const;
};

}  // namespace airlock::device
