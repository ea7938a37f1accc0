// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/descriptor.h"
#include "ring/layout.h"
#include "ring/packed_event.h"
#include "ring/packed_position.h"
#include "shm/shared_bytes.h"

namespace airlock::testing {

/// A device's side of a packed queue without a single check, for tests of a driver: it reads what
/// the driver wrote and writes whatever it is told to. Not thread-safe.
class FakePackedDevice {
 public:
  /// `region` is the whole region, with the areas of a driver's queue in it.
  FakePackedDevice(const shm::SharedBytes& region, ring::QueueSize size,
                   const ring::AreaOffsets& areas);

  // What the driver wrote. Slots are taken modulo the queue size.
  /// Its flags as they are; `next` is the buffer id.
  [[nodiscard]] airlock_descriptor descriptor(std::uint32_t slot) const;
  /// Whether a slot is available in the lap of `wrap`.
  [[nodiscard]] bool is_available(std::uint32_t slot, bool wrap) const;
  [[nodiscard]] ring::PackedEvent driver_event() const;

  // Raw writes.
  /// All of a descriptor at once, its flags as they are.
  void put_descriptor(std::uint32_t slot, const airlock_descriptor& descriptor);
  void set_device_event(const ring::PackedEvent& event);

  /// The honest way: the next used descriptor, with WRITE if anything was written; then goes on by
  /// the slots that the chain took.
  void use(std::uint16_t id, std::uint32_t length, std::uint32_t slots);
  [[nodiscard]] ring::PackedPosition next_used() const { return next_used_; }

 private:
  ring::QueueSize size_;
  shm::SharedBytes ring_;
  shm::SharedBytes driver_event_;
  shm::SharedBytes device_event_;
  ring::PackedPosition next_used_;
};

}  // namespace airlock::testing
