// SPDX-License-Identifier: Apache-2.0
//
// What a guard passes to a device process that it may have to start again: docs/RESTART.md.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>

#include "cli/outcome.h"
#include "device/queue_states.h"
#include "shm/sealed_memfd.h"

namespace airlock::cli {

struct Restart {
  std::unique_ptr<device::QueueStates> states;  // null: nobody will start this process again
  shm::SealedMemfd region;                      // of the process before this one, if there was one

  /// Whether this process takes the place of another.
  [[nodiscard]] bool goes_on() const { return static_cast<bool>(region.fd()); }
  /// What has to stay open while the kernel works for this process; -1 if nothing has to.
  [[nodiscard]] int presence() const { return states ? states->presence() : -1; }
};

/// Takes what was passed on as airlock-state and airlock-region (sd_listen_fds(3)); neither, and
/// all is as it is without a guard. Waits for the process before this one, if need be.
/// `region_bytes` and `pages` are what the options say of the region. Before there are threads.
std::expected<Restart, Failure> take_restart(std::uint64_t region_bytes, shm::PageKind pages);

}  // namespace airlock::cli
