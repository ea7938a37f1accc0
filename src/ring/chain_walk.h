// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/descriptor.h"
#include "ring/chain.h"
#include "ring/queue_size.h"
#include "window/window.h"

namespace airlock::ring {

/// Fills one Chain, descriptor by descriptor: core's check, then the window's. How a table is
/// walked is the ring format's business.
class ChainWalk {
 public:
  /// Empties `target` and gives it its head. `table` is how many descriptors the table has.
  ChainWalk(Head head, QueueSize table, const window::Window& window, Chain& target);

  /// Takes a private copy of the next descriptor. After an error the chain is worthless.
  /// Errors, without the queue: those of airlock_chain_step(), kAddressOutside.
  [[nodiscard]] Result<void> take(const airlock_descriptor& descriptor);

 private:
  const window::Window* window_;
  Chain* target_;
  airlock_chain state_;
};

}  // namespace airlock::ring
