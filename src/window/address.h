// SPDX-License-Identifier: Apache-2.0
//
// The addresses that travel between driver and device. None of them is a pointer, and none becomes
// one but through Window::translate().
#pragma once

#include <cstdint>
#include <utility>

namespace airlock::window {

/// How a driver writes addresses: VIRTIO_F_SWIOTLB has bus addresses inside the region (PCI-DR2),
/// VIRTIO_F_DMB has offsets from the region's start (DMB-D6).
enum class AddressMode : std::uint8_t { kBus, kOffset };

/// An address on the guest's bus: where the guest placed the region's BAR, or guest memory.
enum class BusAddress : std::uint64_t {};

/// Bytes from the start of the region.
enum class RegionOffset : std::uint64_t {};

/// A number that a driver published (in a register, a descriptor): a BusAddress or a RegionOffset,
/// as the negotiated mode has it. To the device it is a claim and nothing more.
enum class DriverAddress : std::uint64_t {};

/// What the device means to do with memory.
enum class Access : std::uint8_t { kRead, kWrite };

/// A driver's way to write an address into the region. `region` is where the BAR is on the bus;
/// unused in offset mode.
struct Publisher {
  AddressMode mode = AddressMode::kBus;
  BusAddress region{};

  [[nodiscard]] DriverAddress publish(RegionOffset offset) const {
    const std::uint64_t base = mode == AddressMode::kBus ? std::to_underlying(region) : 0;
    return DriverAddress{base + std::to_underlying(offset)};
  }
};

}  // namespace airlock::window
