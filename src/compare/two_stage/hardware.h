// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "compare/two_stage/translating_port.h"

namespace airlock::compare {

/// What a device is to do.
struct DeviceAccess {
  std::uint64_t address = 0;
  bool write = false;
  std::uint64_t value = 0;  // to write
};

/// A device of hardware behind its IOMMU, in a thread: it consumes the invalidation queue itself,
/// and no software hears of it. Any thread may post and ask.
class Hardware {
 public:
  explicit Hardware(TranslatingPort port);

  /// Puts the page around `address` into the invalidation queue, and waits until the hardware has
  /// done it: what it knew of the page it knows no more, and uses no more.
  void invalidate(std::uint64_t address);
  /// What was read. Errors: those of TranslatingPort.
  Result<std::uint64_t> access(const DeviceAccess& wanted);
  [[nodiscard]] std::vector<TranslationFault> faults();

 private:
  void run(const std::stop_token& stop);

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<std::uint64_t> invalidations_;  // the queue: addresses, oldest first
  std::uint64_t posted_ = 0;
  std::uint64_t completed_ = 0;
  std::optional<DeviceAccess> wanted_;
  std::optional<Result<std::uint64_t>> done_;
  TranslatingPort port_;
  std::jthread thread_;  // last: it uses all of the others
};

/// One access by any port. Errors: those of TranslatingPort.
Result<std::uint64_t> access_through(TranslatingPort& port, const DeviceAccess& wanted);

}  // namespace airlock::compare
