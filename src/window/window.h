// SPDX-License-Identifier: Apache-2.0
//
// The one door. What a driver wrote is a DriverAddress; what may be touched is a SharedSpan; only a
// Window makes the one out of the other.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>

#include "window/address.h"
#include "window/guest_memory.h"
#include "window/shared_span.h"

namespace airlock::window {

/// What a device may touch.
enum class Reach : std::uint8_t {
  kNothing,         // nothing was negotiated
  kRegion,          // the region and nothing else (GEN-DR2, DMB-D8): all or nothing
  kRegionAndGuest,  // a driver that declined the region: also memory that the VMM shared
};

/// What a device was let at: every ring, table and buffer lies in [first, end), in the numbers that
/// the driver wrote. None yet: end is 0.
struct Touched {
  AddressMode mode = AddressMode::kBus;
  std::uint64_t first = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t end = 0;
};

/// A device's view of memory: the region, and guest memory where that is allowed.
///
/// translate() is called by the queues' threads; set_region_bus_base() may run beside it.
/// Everything else is for the control thread while no queue runs.
class Window {
 public:
  /// A region that is not on the bus: no address leads to it.
  static constexpr BusAddress kUnplaced{~std::uint64_t{0}};

  explicit Window(const shm::SharedBytes& region) : region_(region) {}

  /// Sets what was negotiated. Nothing is reachable before.
  void configure(AddressMode mode, Reach reach);

  /// Follows the BAR as the guest places it. A moved region makes every bus address published
  /// before outside, which breaks the queue that uses it; offsets don't notice. (SYS-2, DMB-D10)
  void set_region_bus_base(BusAddress base) {
    bus_base_.store(std::to_underlying(base), std::memory_order_relaxed);
  }

  /// The memory behind [address, address + length) bytes. An empty range, offset 0 in offset mode
  /// (DMB-DR3), a range that wraps, straddles an end or lies elsewhere is refused, and nothing is
  /// touched; so is guest memory that may not be written, for Access::kWrite. Errors:
  /// kAddressOutside with the address and the length. DEF-5, DMB-D7.
  [[nodiscard]] Result<SharedSpan> translate(DriverAddress address, std::uint64_t length,
                                             Access access) const;

  /// All that translate() let through since a reach was last set. Any thread.
  [[nodiscard]] Touched touched() const;

  [[nodiscard]] AddressMode mode() const { return mode_; }
  [[nodiscard]] Reach reach() const { return reach_; }
  [[nodiscard]] const shm::SharedBytes& region() const { return region_; }
  /// Where the region is on the bus now, for messages.
  [[nodiscard]] BusAddress region_bus_base() const {
    return BusAddress{bus_base_.load(std::memory_order_relaxed)};
  }
  [[nodiscard]] GuestMemory& guest_memory() { return guest_; }
  [[nodiscard]] const GuestMemory& guest_memory() const { return guest_; }

 private:
  void note(std::uint64_t address, std::uint64_t length) const;

  shm::SharedBytes region_;
  std::atomic<std::uint64_t> bus_base_{std::to_underlying(kUnplaced)};
  AddressMode mode_ = AddressMode::kBus;
  Reach reach_ = Reach::kNothing;
  GuestMemory guest_;
  // For people who look at a device: no check depends on these.
  AddressMode touched_mode_ = AddressMode::kBus;
  mutable std::atomic<std::uint64_t> touched_first_{Touched().first};
  mutable std::atomic<std::uint64_t> touched_end_{Touched().end};
};

}  // namespace airlock::window
