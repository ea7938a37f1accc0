// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "core/descriptor.h"
#include "ring/packed_position.h"
#include "ring/split_areas.h"
#include "shm/shared_bytes.h"

namespace airlock::testing {

/// A hostile driver's side of a packed ring, where nothing is checked. VIRTIO 1.3, 2.8.
class HostilePackedRing {
 public:
  static constexpr std::uint16_t kSlots = 16;

  HostilePackedRing() = default;
  /// `descriptors` has kSlots of them.
  explicit HostilePackedRing(const shm::SharedBytes& descriptors) : descriptors_(descriptors) {}

  /// Makes a chain available, in the next slots: NEXT in all but the last, and what flags it has
  /// beside. Its id is its first slot.
  void submit(const std::vector<airlock_descriptor>& chain);
  /// The same with an id, and flags of the first descriptor as they are.
  void submit_as(const std::vector<airlock_descriptor>& chain, std::uint16_t id,
                 std::uint16_t first_flags);
  /// Flags of a first descriptor that would be available in this lap, and in the next.
  [[nodiscard]] std::uint16_t available_flags() const;
  [[nodiscard]] std::uint16_t next_lap_flags() const;
  /// The next chain that the device used; nothing if there is none.
  std::optional<ring::UsedElement> take_used();

 private:
  shm::SharedBytes descriptors_;
  ring::PackedPosition next_avail_;
  ring::PackedPosition next_used_;
  std::map<std::uint16_t, std::uint32_t> slots_;  // of the chain with an id
};

}  // namespace airlock::testing
