// SPDX-License-Identifier: Apache-2.0
//
// What `vmm-copy` and `snoop` have in common: the guest has its queue and buffers where they are,
// and somebody who is trusted with all of its memory moves requests to a queue of the device's.
#pragma once

#include "compare/model.h"

namespace airlock::compare {

/// What such a trusted part is asked.
struct RelayRequest {
  enum class Kind : std::uint32_t {
    kStart,  // with the private memory, notify and interrupt
    kCounts,
  };
  Kind kind = Kind::kStart;
  // NOLINTNEXTLINE(readability-redundant-member-init): GCC wants it, to be left out where not used
  QueueStart queue{};
  std::uint64_t private_bytes = 0;
};
struct RelayReply {
  Answer answer{};
  QueueStart queue;  // kStart: the device's; with the shared memory, notify and interrupt
  std::uint64_t shared_bytes = 0;
  std::uint64_t high_water_bytes = 0;
  TrustedCounts counts;
};

/// The guest's side: its queue is the trusted part's to serve, and the device gets the one that the
/// trusted part drives. Errors: those of PrivateMemory.
Result<std::unique_ptr<Access>> connect_relay(const GuestSide& guest);

}  // namespace airlock::compare
