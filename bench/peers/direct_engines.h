// SPDX-License-Identifier: Apache-2.0
//
// What direct_bench measures: a file, or plain memory, without any device in front of it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "base/latency.h"

namespace airlock::bench {

using Clock = std::chrono::steady_clock;

/// A call of the system that failed: what was to be done, and why not.
class EngineError : public std::runtime_error {
 public:
  EngineError(const std::string& what, int error);
};

struct DirectOptions {
  std::string engine = "pread";  // pread, io_uring, mmap, memcpy
  std::string path;              // of the file; memcpy has none
  std::uint64_t size = 0;        // bytes that are used: the file's, or memcpy's own
  std::string rw = "randread";
  bool random = true;
  std::uint32_t read_percent = 100;
  std::uint64_t bs = 4096;
  std::uint32_t iodepth = 1;  // io_uring: requests in flight; memcpy: buffers, one after the other
  std::chrono::duration<double> runtime{1};
  std::chrono::duration<double> ramp{0};
};

/// What came of a run. It begins with a ramp, of which nothing counts.
class Meter {
 public:
  Meter(Clock::duration ramp, Clock::duration runtime) : ramp_(ramp), runtime_(runtime) {}

  /// The first request begins.
  void start();
  [[nodiscard]] bool over(Clock::time_point now) const { return now >= end_; }
  /// A request of `latency` was done at `now`. Those of the ramp do not count.
  void add(Clock::time_point now, Clock::duration latency) {
    if (!measuring_) {
      if (now < begin_) return;
      begin();
    }
    latency_.add(latency);
    ++requests_;
  }
  /// The last request is done.
  void stop();

  [[nodiscard]] std::uint64_t requests() const { return requests_; }
  [[nodiscard]] double seconds() const {
    return std::chrono::duration<double>(end_ - begin_).count();
  }
  [[nodiscard]] double cpu_seconds() const { return cpu_seconds_; }
  [[nodiscard]] const LatencyHistogram& latency() const { return latency_; }

 private:
  void begin();

  Clock::duration ramp_;
  Clock::duration runtime_;
  Clock::time_point begin_;
  Clock::time_point end_;
  bool measuring_ = false;
  std::uint64_t requests_ = 0;
  double cpu_seconds_ = 0;
  LatencyHistogram latency_;
};

/// Runs it to its end. Throws EngineError.
void run_engine(const DirectOptions& options, Meter& meter);

}  // namespace airlock::bench
