// SPDX-License-Identifier: Apache-2.0
#include "pci/config_space.h"

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "base/checked.h"
#include "core/range.h"

namespace airlock::pci {

namespace {

constexpr std::uint64_t kSmallestBar = 16;

std::uint16_t bar_register(unsigned index) {
  return static_cast<std::uint16_t>(spec::PCI_BASE_ADDRESS_0 + 4 * index);
}

void put_le(std::span<std::byte> target, std::uint64_t value) {
  for (std::byte& byte : target) {
    byte = static_cast<std::byte>(value & 0xff);
    value >>= 8;
  }
}

}  // namespace

ConfigSpace::ConfigSpace(const Identity& identity) {
  power_on(spec::PCI_VENDOR_ID, identity.vendor, 2);
  power_on(spec::PCI_DEVICE_ID, identity.device, 2);
  power_on(spec::PCI_REVISION_ID, identity.revision, 1);
  power_on(spec::PCI_CLASS_PROG, identity.class_code, 3);
  power_on(spec::PCI_SUBSYSTEM_VENDOR_ID, identity.subsystem_vendor, 2);
  power_on(spec::PCI_SUBSYSTEM_ID, identity.subsystem, 2);
  const std::uint16_t command =
      spec::PCI_COMMAND_MEMORY | spec::PCI_COMMAND_MASTER | spec::PCI_COMMAND_INTX_DISABLE;
  put_le(std::span(writable_).subspan(spec::PCI_COMMAND, 2), command);
  // Software's own notes: a device that forgets them puzzles firmware.
  put_le(std::span(writable_).subspan(spec::PCI_CACHE_LINE_SIZE, 1), 0xff);
  put_le(std::span(writable_).subspan(spec::PCI_INTERRUPT_LINE, 1), 0xff);
}

Result<void> ConfigSpace::define_bar(unsigned index, BarKind kind, std::uint64_t size) {
  const bool wide = kind == BarKind::kMemory64Prefetchable;
  const unsigned registers = wide ? 2 : 1;
  if (kind == BarKind::kNone || !airlock_range_within(index, registers, spec::PCI_STD_NUM_BARS)) {
    return fail({.code = Errc::kOutOfRange, .detail = registers, .address = index});
  }
  if (!airlock_is_power_of_two(size)) return fail({.code = Errc::kNotPowerOfTwo, .address = size});
  if (size < kSmallestBar) return fail({.code = Errc::kTooSmall, .address = kSmallestBar});
  if (!wide && size > std::numeric_limits<std::uint32_t>::max()) {
    return fail({.code = Errc::kTooLarge, .address = size});
  }
  bars_[index] = {.kind = kind, .size = size};
  const std::uint32_t type =
      wide ? spec::PCI_BASE_ADDRESS_MEM_TYPE_64 | spec::PCI_BASE_ADDRESS_MEM_PREFETCH : 0;
  power_on(bar_register(index), type, 4 * registers);
  put_le(std::span(writable_).subspan(bar_register(index), 4UL * registers), ~(size - 1));
  return {};
}

Result<std::uint8_t> ConfigSpace::add_capability_bytes(std::span<const std::byte> bytes) {
  const auto offset = static_cast<std::uint16_t>((end_ + 3U) & ~3U);
  if (!airlock_range_within(offset, bytes.size(), kSize)) {
    return fail({.code = Errc::kTooLarge, .address = bytes.size()});
  }
  std::ranges::copy(bytes, bytes_.begin() + offset);
  std::ranges::copy(bytes, power_on_.begin() + offset);
  power_on(link_, offset, 1);
  power_on(spec::PCI_STATUS, spec::PCI_STATUS_CAP_LIST, 2);
  link_ = static_cast<std::uint16_t>(offset + 1);
  power_on(link_, 0, 1);
  end_ = static_cast<std::uint16_t>(offset + bytes.size());
  return static_cast<std::uint8_t>(offset);
}

void ConfigSpace::allow_write(std::uint8_t offset, std::span<const std::byte> mask) {
  CHECK(airlock_range_within(offset, mask.size(), kSize));
  std::ranges::copy(mask, writable_.begin() + offset);
}

void ConfigSpace::read(std::uint16_t offset, std::span<std::byte> target) const {
  CHECK(airlock_range_within(offset, target.size(), kSize));
  std::ranges::copy(std::span(bytes_).subspan(offset, target.size()), target.begin());
}

void ConfigSpace::write(std::uint16_t offset, std::span<const std::byte> source) {
  CHECK(airlock_range_within(offset, source.size(), kSize));
  for (std::size_t i = 0; i < source.size(); ++i) {
    const std::byte mask = writable_[offset + i];
    bytes_[offset + i] = (bytes_[offset + i] & ~mask) | (source[i] & mask);
  }
}

void ConfigSpace::set(std::uint16_t offset, std::span<const std::byte> source) {
  CHECK(airlock_range_within(offset, source.size(), kSize));
  std::ranges::copy(source, bytes_.begin() + offset);
}

void ConfigSpace::reset() {
  bytes_ = power_on_;
}

std::uint16_t ConfigSpace::command() const {
  return static_cast<std::uint16_t>(get(spec::PCI_COMMAND, 2));
}

std::optional<std::uint64_t> ConfigSpace::bar_address(unsigned index) const {
  if (index >= bars_.size() || bars_[index].kind == BarKind::kNone) return std::nullopt;
  if ((command() & spec::PCI_COMMAND_MEMORY) == 0) return std::nullopt;
  const bool wide = bars_[index].kind == BarKind::kMemory64Prefetchable;
  const std::uint64_t type = ~std::uint64_t{spec::PCI_BASE_ADDRESS_MEM_MASK} & 0xf;
  const std::uint64_t address = get(bar_register(index), wide ? 8 : 4) & ~type;
  const std::uint64_t limit =
      wide ? std::numeric_limits<std::uint64_t>::max() : std::numeric_limits<std::uint32_t>::max();
  // Below the limit, not up to it: the last place there is is what a size probe writes.
  if (address == 0 || !airlock_range_within(address, bars_[index].size, limit)) return std::nullopt;
  return address;
}

std::uint64_t ConfigSpace::bar_size(unsigned index) const {
  return index < bars_.size() ? bars_[index].size : 0;
}

void ConfigSpace::power_on(std::uint16_t offset, std::uint64_t value, unsigned bytes) {
  put_le(std::span(bytes_).subspan(offset, bytes), value);
  put_le(std::span(power_on_).subspan(offset, bytes), value);
}

std::uint64_t ConfigSpace::get(std::uint16_t offset, unsigned bytes) const {
  std::uint64_t value = 0;
  for (unsigned i = bytes; i > 0; --i) {
    value = value << 8 | std::to_integer<std::uint64_t>(bytes_[offset + i - 1]);
  }
  return value;
}

}  // namespace airlock::pci
