// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "compare/access.h"
#include "compare/rig_driver.h"

namespace airlock::compare {

/// The requests of a driver that are in flight, and the mappings of their buffers. One thread.
class RigSlots {
 public:
  struct Slot {
    MappedBuffer mapped;
    RigDriver::Request request;
    RigDriver::Clock::time_point since;
  };

  /// `access` outlives it.
  explicit RigSlots(Access& access);

  /// Maps a request's buffer, and says which slot it has. Errors: kQueueFull, those of map().
  Result<std::uint32_t> take(const RigDriver::Request& request, pool::Direction direction);
  [[nodiscard]] const Slot& at(std::uint32_t index) const { return slots_.at(index); }
  /// It never came into a ring.
  void abandon(std::uint32_t index);
  /// Unmaps: the first `written` bytes are the driver's to read. Errors: those of unmap().
  Result<void> release(std::uint32_t index, std::uint64_t written);
  /// Counts a request that failed.
  void count_error() { ++counts_.io_errors; }

  /// What is known here: io_errors and mapped_ns.
  [[nodiscard]] const DriverCounts& counts() const { return counts_; }

 private:
  Access& access_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
  DriverCounts counts_;
};

}  // namespace airlock::compare
