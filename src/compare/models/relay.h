// SPDX-License-Identifier: Apache-2.0
//
// What `vmm-copy` and `snoop` have in common: the guest has its queues and buffers where they are,
// and somebody who is trusted with all of its memory moves requests to queues of the device's.
#pragma once

#include <array>

#include "compare/model.h"

namespace airlock::compare {

/// What such a trusted part is asked.
struct RelayRequest {
  enum class Kind : std::uint32_t {
    kStart,  // with the private memory, notify and interrupt of each queue
    kReset,  // forgets the queues, and what is in flight; they can be started again, in any size
    kCounts,
  };
  Kind kind = Kind::kStart;
  std::uint32_t queues = 0;
  std::array<QueueStart, kQueuesMost> queue{};
  std::uint64_t private_bytes = 0;
};
struct RelayReply {
  Answer answer{};
  // kStart: the device's, as many; with the shared memory, notify and interrupt of each.
  std::array<QueueStart, kQueuesMost> queue{};
  std::uint64_t shared_bytes = 0;
  std::uint64_t high_water_bytes = 0;
  TrustedCounts counts;
};

/// The guest's side: its queues are the trusted part's to serve, and the device gets those that the
/// trusted part drives. Errors: those of PrivateMemory.
Result<std::unique_ptr<Access>> connect_relay(const GuestSide& guest);

}  // namespace airlock::compare
