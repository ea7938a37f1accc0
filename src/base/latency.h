// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <bit>
#include <chrono>
#include <cstdint>

namespace airlock {

/// Latencies in buckets of about 1.6 % width: adding one costs a few instructions and no memory.
class LatencyHistogram {
 public:
  void add(std::chrono::nanoseconds latency) {
    ++buckets_[bucket_of(static_cast<std::uint64_t>(latency.count()))];
    ++count_;
  }
  void merge(const LatencyHistogram& other) {
    for (std::size_t i = 0; i < buckets_.size(); ++i)
      buckets_[i] += other.buckets_[i];
    count_ += other.count_;
  }
  /// The latency that `part` (0 to 1) of all stay below, in microseconds; 0 if there are none.
  [[nodiscard]] double percentile_us(double part) const {
    const auto target = static_cast<std::uint64_t>(part * static_cast<double>(count_));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
      seen += buckets_[i];
      if (seen > target) return static_cast<double>(upper_bound(i)) / 1000.0;
    }
    return 0;
  }

 private:
  static constexpr unsigned kFineBits = 6;
  static constexpr std::size_t kFine = std::size_t{1} << kFineBits;

  static std::size_t bucket_of(std::uint64_t ns) {
    if (ns < kFine) return ns;
    const auto shift = static_cast<unsigned>(std::bit_width(ns)) - kFineBits - 1;
    return (shift + 1) * kFine + ((ns >> shift) - kFine);
  }
  static std::uint64_t upper_bound(std::size_t bucket) {
    if (bucket < kFine) return bucket;
    const std::size_t shift = bucket / kFine - 1;
    return ((bucket % kFine) + kFine + 1) << shift;
  }

  std::array<std::uint64_t, kFine * (64 - kFineBits + 1)> buckets_{};
  std::uint64_t count_ = 0;
};

}  // namespace airlock
