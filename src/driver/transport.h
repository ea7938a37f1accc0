// SPDX-License-Identifier: Apache-2.0
//
// How a driver reaches a PCI device: through a socket to the process that serves it, or through
// sysfs inside a virtual machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/result.h"
#include "pci/capabilities.h"
#include "shm/mapping.h"
#include "window/address.h"

namespace airlock::driver {

/// Bytes of one register access.
enum class Width : std::uint8_t { k1 = 1, k2 = 2, k4 = 4, k8 = 8 };

/// A register: [offset, offset + width) lies in the BAR.
struct Register {
  std::uint8_t bar = 0;
  std::uint64_t offset = 0;
  Width width = Width::k4;
};

/// Of which file, and from where on, memory is mapped, as the kernel says: no peer has a say in it.
struct FilePlace {
  std::uint64_t device = 0;  // st_dev
  std::uint64_t inode = 0;
  std::uint64_t offset = 0;

  friend bool operator==(const FilePlace&, const FilePlace&) = default;
};

/// Device memory in our address space, and where the device believes it to be.
struct MappedRegion {
  shm::Mapping mapping;
  window::BusAddress bus_address{};
  std::optional<FilePlace> file;  // where that can be told
};

/// One PCI device with its BARs placed, memory decoding on and bus mastering on. The device is not
/// trusted: whatever is read is data, every call ends, and a device that is gone is an error.
///
/// Calls may come from several threads, as each queue notifies from its own.
class PciTransport : public pci::ConfigReader {
 public:
  /// Writes to configuration space, all inside its 256 bytes.
  virtual Result<void> write_config(std::uint16_t offset, std::span<const std::byte> source) = 0;

  /// As found when the transport was made; they never change after.
  [[nodiscard]] virtual const pci::BarSizes& bar_sizes() const = 0;

  /// One access of that width. Errors: kOutOfRange, kNotAligned (nothing is accessed), and those of
  /// the path to the device.
  virtual Result<std::uint64_t> read(const Register& from) = 0;
  virtual Result<void> write(const Register& to, std::uint64_t value) = 0;
  /// A write whose effect need not be waited for: a notification. Errors may go unseen.
  virtual Result<void> post(const Register& to, std::uint64_t value) = 0;

  /// Says that the notify registers lie in `range`, before the first of them is written and while
  /// no other call is under way. There may be a shorter way to the device than writing, which
  /// post() takes from then on; it carries no value, so only for widths that have none worth
  /// carrying (2). Errors: those of the path to the device; kOutOfRange (a way for something
  /// outside).
  virtual Result<void> prepare_notifications(const pci::BarRange& /*range*/) { return {}; }

  /// Maps memory of a BAR, page aligned, as ordinary memory that the device shares. Errors:
  /// kNoRegion (can't be mapped), kUnsealed and kHugePages (its owner could take it away while we
  /// use it),
  /// kOutOfRange.
  virtual Result<MappedRegion> map(const pci::BarRange& range) = 0;

  /// Interrupt vectors that could be had; 0: the device must be polled.
  [[nodiscard]] virtual std::uint16_t interrupt_vectors() const = 0;
  /// Switches MSI-X on with vectors 0 to `count` - 1. Errors: kUnsupported.
  virtual Result<void> enable_interrupts(const pci::MsixLocation& msix, std::uint16_t count) = 0;
  /// Readable when the vector fired (drain with EventFd semantics); -1 while there is none. It can
  /// fire at any time and for no reason (HD-17, HD-20): a hint to look, nothing else.
  [[nodiscard]] virtual int interrupt_fd(std::uint16_t vector) const = 0;
  /// Whether the vector fired since the last call.
  virtual bool take_interrupt(std::uint16_t vector) = 0;

  /// How often the device asked for memory of ours by a message; nothing where that can't be seen.
  [[nodiscard]] virtual std::optional<std::uint64_t> foreign_requests() const {
    return std::nullopt;
  }

  /// Resets the whole function, as power-on does, and places the BARs again where they were. Ends
  /// interrupts. Errors: kUnsupported.
  virtual Result<void> reset() = 0;
};

}  // namespace airlock::driver
