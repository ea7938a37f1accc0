// SPDX-License-Identifier: Apache-2.0
//
// A whole device that can be told to lie: in its ring, in the region's memory, in registers, in
// configuration space, with interrupts. Each lie has a name (REQUIREMENTS 4); what it must come to
// is for each test to say.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>

#include "testing/fake_disk.h"
#include "testing/fake_transport.h"
#include "testing/hostile_device_ring.h"

namespace airlock::testing {

/// An honest disk and the ways to make it lie. Not thread-safe; the disk, and the lies that its
/// transport tells, must outlive it.
class HostileDevice {
 public:
  HostileDevice(FakeDiskDevice& device, Lies& lies) : device_(device), lies_(lies) {}

  [[nodiscard]] FakeDisk& disk() { return device_.disk; }
  [[nodiscard]] Lies& lies() { return lies_; }
  /// The ring of queue 0, made at the first call since be_honest(): no request may have been
  /// answered in it before. It answers honestly as the disk does.
  [[nodiscard]] HostileRing& ring();
  /// Ends all lies that stay, and forgets the ring.
  void be_honest();
  /// From the next ring on, the ring answers by itself (HostileRing::set_server) and the disk,
  /// which must be held, is only where the bytes are: for a driver that runs meanwhile.
  void serve_from_the_ring() { from_the_ring_ = true; }
  /// The driver has reset the device, and its ring is gone.
  void forget_ring() { ring_.reset(); }

  // Lies that stay.
  /// The register at `offset` of the common configuration reads as `value`.
  void fake_register(std::size_t offset, std::uint64_t value);
  /// `change` sees each capability of this type (VIRTIO_PCI_CAP_*) that is read.
  void fake_capability(std::uint8_t type, std::function<void(std::span<std::byte>)> change);
  /// `change` sees what each read of the registers gives; `offset` counts in their BAR.
  void fake_registers(std::function<void(std::uint64_t offset, std::uint64_t& value)> change);

  // Acts of the moment.
  /// Fires every vector that there is, `times` times each.
  void interrupt(int times = 1);
  /// Answers all open requests honestly, and then overwrites what it was only to read.
  void scribble_on_requests();
  /// Overwrites what is neither in a ring nor a buffer of an open request.
  void scribble_on_free_memory();
  /// Says of every open request, the last one first, that it is done; writes the status alone.
  void claim_success_in_reverse();

 private:
  [[nodiscard]] HostileRing::Place place();
  [[nodiscard]] std::uint32_t serve(const HostileRing::Request& request);
  [[nodiscard]] std::uint64_t offset_of(std::uint64_t address) const;

  FakeDiskDevice& device_;
  Lies& lies_;
  std::unique_ptr<HostileRing> ring_;
  bool from_the_ring_ = false;
};

/// A lie of the whole device.
struct DeviceLie {
  std::string_view name;
  void (*tell)(HostileDevice& device);
};
/// Lies to tell before the driver opens the device.
std::span<const DeviceLie> opening_lies();
/// Lies to tell while at least two requests are open. Those of its ring are ring_lies().
std::span<const DeviceLie> running_lies();
/// Lies to tell to a driver that is about to reset the device.
std::span<const DeviceLie> reset_lies();
/// By its name, which must be on the list (CHECK).
const DeviceLie& find_lie(std::span<const DeviceLie> lies, std::string_view name);

}  // namespace airlock::testing
