// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/result.h"
#include "spec/pci.h"

namespace airlock::pci {

enum class BarKind : std::uint8_t {
  kNone,
  kMemory32,
  kMemory64Prefetchable,  // takes two base address registers
};

/// The 256 bytes of a device's PCI configuration space. Each byte has a value and a mask of the
/// bits that a driver may write; that is all there is to it: sizing a BAR by writing ones, the type
/// bits that stay, the ROM register that stays 0 and read-only capabilities all follow.
/// No interrupt pin: INTx makes a VMM unmap the region for good (VFIO_USER 0.7).
/// Control thread only.
class ConfigSpace {
 public:
  static constexpr std::uint16_t kSize = spec::PCI_CFG_SPACE_SIZE;

  struct Identity {
    std::uint16_t vendor = 0;
    std::uint16_t device = 0;
    std::uint16_t subsystem_vendor = 0;
    std::uint16_t subsystem = 0;
    std::uint8_t revision = 0;
    std::uint32_t class_code = 0;  // 24 bits: class, subclass, interface
  };

  explicit ConfigSpace(const Identity& identity);

  /// Gives BAR `index` a size in bytes: a power of two from 16 on, below 4 GiB for kMemory32.
  /// Errors: kNotPowerOfTwo, kTooSmall, kTooLarge, kOutOfRange (index).
  Result<void> define_bar(unsigned index, BarKind kind, std::uint64_t size);

  /// Appends a capability: a spec struct whose second byte, the link to the next, is filled in
  /// here. Returns its offset. Errors: kTooLarge when there is no room left.
  template <class T>
  Result<std::uint8_t> add_capability(const T& capability) {
    return add_capability_bytes(std::as_bytes(std::span(&capability, 1)));
  }
  /// Lets a driver write the bits of `mask` (little-endian) at `offset`.
  void allow_write(std::uint8_t offset, std::span<const std::byte> mask);

  /// [offset, offset + size) is inside the space, in both.
  void read(std::uint16_t offset, std::span<std::byte> target) const;
  void write(std::uint16_t offset, std::span<const std::byte> source);
  /// For the device itself: no mask applies. reset() undoes it.
  void set(std::uint16_t offset, std::span<const std::byte> source);

  /// All registers as they were at power-on.
  void reset();

  [[nodiscard]] std::uint16_t command() const;
  /// Where the driver placed a BAR; nothing while memory decoding is off, the address is 0, or the
  /// BAR would end where addresses do (a size probe puts it there for a moment).
  [[nodiscard]] std::optional<std::uint64_t> bar_address(unsigned index) const;
  [[nodiscard]] std::uint64_t bar_size(unsigned index) const;

 private:
  struct Bar {
    BarKind kind = BarKind::kNone;
    std::uint64_t size = 0;
  };

  Result<std::uint8_t> add_capability_bytes(std::span<const std::byte> bytes);
  /// Little-endian, `bytes` of it. power_on() is for building: what reset() goes back to.
  void power_on(std::uint16_t offset, std::uint64_t value, unsigned bytes);
  [[nodiscard]] std::uint64_t get(std::uint16_t offset, unsigned bytes) const;

  std::array<std::byte, kSize> bytes_{};
  std::array<std::byte, kSize> writable_{};
  std::array<std::byte, kSize> power_on_{};
  std::array<Bar, spec::PCI_STD_NUM_BARS> bars_{};
  std::uint16_t link_ = spec::PCI_CAPABILITY_LIST;  // where the next capability's offset goes
  std::uint16_t end_ = spec::PCI_STD_HEADER_SIZEOF;
};

}  // namespace airlock::pci
