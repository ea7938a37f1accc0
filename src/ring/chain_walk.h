// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "core/chain.h"
#include "ring/chain.h"
#include "ring/features.h"
#include "ring/queue_size.h"
#include "window/window.h"

namespace airlock::ring {

/// Fills one Chain after another, descriptor by descriptor: core's check, then the window's. How
/// the ring's own descriptors are read is the format's business; an indirect table is read here,
/// whole and once. Keeps its storage: does not allocate once it has seen the longest table.
class ChainWalk {
 public:
  ChainWalk(QueueSize size, const Features& features, const window::Window& window)
      : rules_{.queue_size = size.value(),
               .packed = features.format == Format::kPacked,
               .indirect = features.indirect},
        format_(features.format),
        window_(&window) {}

  /// Empties `target`, then walks the chain from descriptor `head` of the ring, which is below the
  /// queue size, into it. `read(index)` gives a private copy of a descriptor of the ring. Returns
  /// how many of those the chain takes. After an error `target` is worthless.
  /// Errors, without the queue: those of airlock_chain_step(), kAddressOutside.
  template <class ReadRing>
  [[nodiscard]] Result<std::uint32_t> walk(std::uint32_t head, Chain& target,
                                           const ReadRing& read) {
    begin(head, target);
    // Ends after at most queue_size steps and one table: the step refuses more.
    while (state_.more) {
      if (auto taken = take(state_.in_table ? table_entry() : read(state_.index), target); !taken) {
        return fail(taken.error());
      }
    }
    return state_.ring_count;
  }

 private:
  void begin(std::uint32_t head, Chain& target);
  [[nodiscard]] airlock_descriptor table_entry() const;
  Result<void> take(const airlock_descriptor& descriptor, Chain& target);
  Result<void> open_table();

  airlock_chain_rules rules_;
  Format format_;
  const window::Window* window_;
  airlock_chain state_{};
  std::vector<std::uint64_t> table_;  // a private copy of the indirect table: two words an entry
};

}  // namespace airlock::ring
