// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "dt/tree.h"

namespace airlock::dt {

/// A pool for some devices, or for all behind the host bridge of a PCI bus.
struct PoolRequest {
  std::uint64_t base = 0;                    // guest address
  std::uint64_t bytes = 0;                   // as base: of whole pages
  std::string name = "restricted-dma-pool";  // of its node, without the address
  std::vector<std::string> nodes;            // paths of devices that share it (DT-5)
  bool host_bridge = false;                  // also the one PCI host bridge
};

/// The tree with the pool in it: a node under /reserved-memory, which is made where there is none,
/// and a `memory-region` of each device, after what it names already. Errors, in words: what the
/// request or the tree has that keeps Linux from giving the pool to one of them; nothing is
/// returned that inspect() finds without it. DT-1, DT-3, DT-4, DT-5.
[[nodiscard]] std::expected<std::vector<std::byte>, std::string> add_pool(
    const Tree& tree, const PoolRequest& request);

}  // namespace airlock::dt
