// SPDX-License-Identifier: Apache-2.0
//
// MSI-X on the device's side: the vectors as eventfds, and the table that a driver programs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/event_fd.h"
#include "spec/pci.h"

namespace airlock::pci {

/// The vectors of a device. The client (a VMM) gives an eventfd for each that its guest can hear;
/// firing one is a write to it. install() and remove() are for the control thread, fire() for any.
class MsixVectors {
 public:
  /// `count` from 1 to PCI_MSIX_VECTORS_MAX.
  explicit MsixVectors(std::uint16_t count);

  [[nodiscard]] std::uint16_t count() const { return count_; }

  /// Puts an eventfd in place (closing the one that was there), or takes it away with an empty one.
  /// What fired while there was none is delivered now: the guest had the vector masked.
  /// Errors: kOutOfRange.
  Result<void> install(std::uint16_t vector, EventFd event);
  /// A duplicate of the eventfd in place; empty if there is none, or no such vector. Any thread.
  /// Errors: kSystem.
  [[nodiscard]] Result<Fd> eventfd(std::uint16_t vector) const;
  /// Takes all eventfds away: the client disabled MSI-X or left. Nothing stays pending.
  void remove_all();
  /// Forgets what fired without being heard: the device was reset.
  void clear_pending();

  /// Fires a vector: the device's interrupt, and the client's way to test one (VFIO_USER 1.10,
  /// TRIGGER). VIRTIO_MSI_NO_VECTOR and whatever else is not a vector is nothing to fire.
  void fire(std::uint16_t vector);

 private:
  struct Slot {
    std::mutex mutex;  // guards what follows; held for one write(2) to a non-blocking eventfd
    EventFd event;
    bool pending = false;
  };

  std::uint16_t count_;
  std::unique_ptr<Slot[]> slots_;
};

/// The BAR with the MSI-X table and the pending bits. A VMM usually emulates the table itself and
/// never asks; for other clients it is memory that reads back. The pending bits read zero: with
/// eventfds it is the client that holds an interrupt back. Control thread only.
class MsixTable {
 public:
  explicit MsixTable(std::uint16_t count);

  /// Bytes, a power of two, at least a page.
  [[nodiscard]] std::uint64_t bar_size() const { return bar_size_; }
  [[nodiscard]] std::uint32_t pba_offset() const;
  /// The capability that says where table and pending bits are, in `bar`.
  [[nodiscard]] spec::PciMsixCap capability(std::uint8_t bar) const;

  /// [offset, offset + size) is inside the BAR.
  void read(std::uint64_t offset, std::span<std::byte> target) const;
  void write(std::uint64_t offset, std::span<const std::byte> source);
  /// Every vector masked, as after power-on.
  void reset();

 private:
  std::uint16_t count_;
  std::uint64_t bar_size_;
  std::vector<std::byte> table_;
};

}  // namespace airlock::pci
