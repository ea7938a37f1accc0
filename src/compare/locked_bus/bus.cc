// SPDX-License-Identifier: Apache-2.0
#include "compare/locked_bus/bus.h"

#include <algorithm>
#include <utility>

#include "core/range.h"

namespace airlock::compare {

Result<void> Bus::attach(window::BusAddress address, const shm::SharedBytes& memory) {
  const std::uint64_t first = std::to_underlying(address);
  const bool overlaps = std::ranges::any_of(memories_, [&](const Memory& other) {
    return airlock_ranges_overlap(first, memory.size(), other.address, other.bytes.size());
  });
  if (!airlock_is_range(first, memory.size()) || overlaps) {
    return fail({.code = Errc::kOutOfRange, .address = first});
  }
  memories_.push_back({.address = first, .bytes = memory});
  return {};
}

void Bus::record(const BusFault& fault) {
  ++fault_count_;
  if (faults_.size() < kFaultsMost) faults_.push_back(fault);
}

Result<void> Bus::write_register(Register which, std::uint64_t value) {
  if (read_register(Register::kLock) != 0) {
    record({.kind = BusFault::Kind::kLocked,
            .write = true,
            .address = std::to_underlying(which),
            .length = sizeof value});
    return fail(Errc::kReadOnly);
  }
  registers_.at(std::to_underlying(which)) = value;
  return {};
}

std::uint64_t Bus::read_register(Register which) const {
  return registers_.at(std::to_underlying(which));
}

void Bus::power_cycle() {
  std::ranges::fill(registers_, 0U);
}

Result<Bus::Target> Bus::find(const BusFault& transaction) {
  BusFault fault = transaction;
  const std::uint64_t base = read_register(Register::kBase);
  const std::uint64_t limit = read_register(Register::kLimit);
  // By its last byte, since the limit is one: a window may end where the addresses do.
  const std::uint64_t last = fault.address + (fault.length - 1);
  const bool inside =
      airlock_is_range(fault.address, fault.length) && fault.address >= base && last <= limit;
  if (read_register(Register::kEnable) != 0 && !inside) {
    fault.kind = BusFault::Kind::kOutside;
  } else {
    for (const Memory& memory : memories_) {
      if (airlock_range_inside(fault.address, fault.length, memory.address, memory.bytes.size())) {
        return Target{.memory = &memory, .offset = fault.address - memory.address};
      }
    }
    fault.kind = BusFault::Kind::kNothing;
  }
  record(fault);
  return fail({.code = Errc::kAddressOutside,
               .detail = static_cast<std::uint32_t>(fault.length),
               .address = fault.address});
}

Result<void> Bus::read(std::uint64_t address, std::span<std::byte> target) {
  const Target found = TRY(find({.write = false, .address = address, .length = target.size()}));
  found.memory->bytes.copy_out(found.offset, target);
  return {};
}

Result<void> Bus::write(std::uint64_t address, std::span<const std::byte> source) {
  const Target found = TRY(find({.write = true, .address = address, .length = source.size()}));
  found.memory->bytes.copy_in(found.offset, source);
  return {};
}

Result<void> lock_window(Bus& bus, window::BusAddress first, std::uint64_t bytes) {
  const std::uint64_t base = std::to_underlying(first);
  TRY(bus.write_register(Bus::Register::kBase, base));
  TRY(bus.write_register(Bus::Register::kLimit, base + (bytes - 1)));
  TRY(bus.write_register(Bus::Register::kEnable, 1));
  return bus.write_register(Bus::Register::kLock, 1);
}

}  // namespace airlock::compare
