// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "ring/chain.h"

namespace airlock::device {

/// Is shown each chain that passes a TrackedQueue, for a type whose backends have more to forget
/// than chains. On the queue's thread. Where a number is returned, the chain goes to the driver
/// with so many bytes written, and to no backend.
class ChainWatcher {
 public:
  virtual ~ChainWatcher() = default;

  /// The driver made it available.
  virtual std::optional<std::uint32_t> taken(std::uint16_t queue, const ring::Chain& chain) = 0;
  /// It is about to be made available to a backend that does not know of it. `seen`: another had
  /// it, and may have done what it asks for.
  virtual std::optional<std::uint32_t> again(std::uint16_t queue, std::uint16_t head,
                                             bool seen) = 0;
  /// The backend returned it with so many bytes written, no more than it has room for. It is not
  /// the driver's yet.
  virtual void returned(std::uint16_t queue, std::uint16_t head, std::uint32_t written) = 0;
};

}  // namespace airlock::device
