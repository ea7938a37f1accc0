// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "compare/locked_bus/bus.h"
#include "compare/locked_bus/card_ring.h"

namespace airlock::compare {

/// A network card whose cable leads back to itself: what is sent is received. It has nothing but
/// its bus. One thread.
class Card {
 public:
  explicit Card(Bus& bus) : bus_(bus) {}

  /// Its registers: where the rings are, of so many descriptors each. It starts anew.
  void set_rings(std::uint64_t send, std::uint64_t receive, std::uint32_t entries);
  /// Register: there may be something to send. It sends as long as there is room to receive; a
  /// frame for whose buffers the bus refuses to answer is lost, and its descriptor says so.
  void ring_doorbell();
  /// Register: the bus refused it a descriptor, so that it stopped until set_rings().
  [[nodiscard]] bool halted() const { return halted_; }

 private:
  struct Ring {
    std::uint64_t address = 0;
    std::uint32_t next = 0;
  };
  Result<bool> send_one();
  Result<CardDescriptor> descriptor(const Ring& ring);
  Result<void> give_back(Ring& ring, CardDescriptor descriptor, std::uint32_t state);

  Bus& bus_;
  Ring send_;
  Ring receive_;
  std::uint32_t entries_ = 0;
  bool halted_ = true;
};

/// A card whose firmware is somebody else's: it reads all of [first, first + bytes) that the bus
/// lets it. What it read is left in `target`, which is as long; the rest is as it was.
void read_all(Bus& bus, std::uint64_t first, std::span<std::byte> target);

}  // namespace airlock::compare
