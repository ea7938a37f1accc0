// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

#include "backend/net_backend.h"

namespace airlock::backend {

/// What receive() looks at of an other end that sends nothing but malformed frames.
inline constexpr int kMalformedInARow = 64;

/// NetBackendCounts, as the threads of all channels count.
class NetCounters {
 public:
  void count_malformed() { malformed_.fetch_add(1, std::memory_order_relaxed); }
  void count_unsent() { unsent_.fetch_add(1, std::memory_order_relaxed); }
  void count_disconnect() { disconnects_.fetch_add(1, std::memory_order_relaxed); }

  [[nodiscard]] NetBackendCounts counts() const {
    return {.malformed = malformed_.load(std::memory_order_relaxed),
            .unsent = unsent_.load(std::memory_order_relaxed),
            .disconnects = disconnects_.load(std::memory_order_relaxed)};
  }

 private:
  std::atomic<std::uint64_t> malformed_{0};
  std::atomic<std::uint64_t> unsent_{0};
  std::atomic<std::uint64_t> disconnects_{0};
};

}  // namespace airlock::backend
