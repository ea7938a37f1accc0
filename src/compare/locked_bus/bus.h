// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "shm/shared_bytes.h"
#include "window/address.h"

namespace airlock::compare {

/// A transaction, or a write to a register, that the bus did not do.
struct BusFault {
  enum class Kind : std::uint8_t {
    kOutside,  // of the window
    kNothing,  // in the window, or there is none; but no memory answers
    kLocked,   // a register, once it is locked
  };
  Kind kind = Kind::kOutside;
  bool write = false;
  std::uint64_t address = 0;  // kLocked: the register's number
  std::uint64_t length = 0;   // bytes

  friend bool operator==(const BusFault&, const BusFault&) = default;
};

/// A bus that its devices reach memory by, as a card reaches it over PCIe without an IOMMU. Every
/// transaction of theirs is held against a window (base and limit, as MediaTek's EMI MPU has it);
/// what leaves it is aborted, whole, and recorded. Firmware sets the window and locks it, for as
/// long as there is power. One thread. SYS-12.
class Bus {
 public:
  enum class Register : std::uint8_t {
    kBase,    // address of the first byte that devices may touch
    kLimit,   // and of the last
    kEnable,  // 1: the window holds; 0: devices may touch everything
    kLock,    // 1: no register changes any more; stays 1
  };
  static constexpr std::size_t kRegisters = 4;
  static constexpr std::size_t kFaultsMost = 64;  // later ones are only counted

  /// Memory that answers from `address` on; it outlives the bus. Errors: kOutOfRange (empty, or it
  /// wraps, or overlaps other memory).
  Result<void> attach(window::BusAddress address, const shm::SharedBytes& memory);

  /// The processor's side: anybody there may write, whoever it is.
  /// Errors: kReadOnly, once it is locked, which is recorded.
  Result<void> write_register(Register which, std::uint64_t value);
  [[nodiscard]] std::uint64_t read_register(Register which) const;
  /// Off and on again: all registers are 0, and the window has to be set anew.
  void power_cycle();

  /// A device's transactions. All of it is done or nothing. Errors: kAddressOutside, which is
  /// recorded.
  Result<void> read(std::uint64_t address, std::span<std::byte> target);
  Result<void> write(std::uint64_t address, std::span<const std::byte> source);

  /// What was refused, oldest first; and how often.
  [[nodiscard]] const std::vector<BusFault>& faults() const { return faults_; }
  [[nodiscard]] std::uint64_t fault_count() const { return fault_count_; }

 private:
  struct Memory {
    std::uint64_t address = 0;
    shm::SharedBytes bytes;
  };
  /// Where in some memory a transaction ends up.
  struct Target {
    const Memory* memory = nullptr;
    std::uint64_t offset = 0;
  };
  Result<Target> find(const BusFault& transaction);
  void record(const BusFault& fault);

  std::vector<Memory> memories_;
  std::vector<std::uint64_t> registers_ = std::vector<std::uint64_t>(kRegisters);
  std::vector<BusFault> faults_;
  std::uint64_t fault_count_ = 0;
};

/// What firmware does before anything else runs: lets devices at [first, first + bytes) alone, and
/// locks that. Errors: kReadOnly.
Result<void> lock_window(Bus& bus, window::BusAddress first, std::uint64_t bytes);

}  // namespace airlock::compare
