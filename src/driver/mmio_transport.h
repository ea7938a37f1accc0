// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>

#include "base/fd.h"
#include "driver/transport.h"

namespace airlock::driver {

/// How a driver reaches the registers of a virtio-mmio device: a page of its bus. The device is not
/// trusted, so every call ends, and a device that is gone is an error.
class MmioBus {
 public:
  MmioBus() = default;
  virtual ~MmioBus() = default;
  MmioBus(const MmioBus&) = delete;
  MmioBus& operator=(const MmioBus&) = delete;

  /// Bytes of the device on the bus.
  [[nodiscard]] virtual std::uint64_t size() const = 0;
  /// One access, aligned and inside. Any thread. Errors: those of the path to the device.
  virtual Result<std::uint64_t> read(std::uint64_t offset, Width width) = 0;
  virtual Result<void> write(std::uint64_t offset, Width width, std::uint64_t value) = 0;
};

/// The restricted DMA pool that the device tree gives a device: memory of the driver's own.
struct DmaPool {
  window::BusAddress base{};
  std::uint64_t bytes = 0;  // whole pages
  Fd memory;
};

/// A virtio-mmio device for the drivers that there are: its registers in the places where a PCI
/// device has them, and its pool as the region that capability 10 names. So what a driver checks,
/// negotiates and keeps to is the same: it uses the pool whether VIRTIO_F_SWIOTLB is on offer or
/// not (MMIO-DR1, MMIO-N2), and never any other memory (MMIO-DR2). The device is polled.
/// VIRTIO 1.3, 4.2.2.
class MmioTransport final : public PciTransport {
 public:
  /// Errors: kNotVirtio (another magic, or no device there), kUnsupported (a version other than 2),
  /// kTooSmall (less than the registers), those of the bus.
  static Result<std::unique_ptr<MmioTransport>> create(std::unique_ptr<MmioBus> bus, DmaPool pool);

  Result<void> read_config(std::uint16_t offset, std::span<std::byte> target) override;
  Result<void> write_config(std::uint16_t offset, std::span<const std::byte> source) override;
  [[nodiscard]] const pci::BarSizes& bar_sizes() const override { return bar_sizes_; }
  Result<std::uint64_t> read(const Register& from) override;
  Result<void> write(const Register& to, std::uint64_t value) override;
  Result<void> post(const Register& to, std::uint64_t value) override { return write(to, value); }
  Result<MappedRegion> map(const pci::BarRange& range) override;
  [[nodiscard]] std::uint16_t interrupt_vectors() const override { return 0; }
  Result<void> enable_interrupts(const pci::MsixLocation& msix, std::uint16_t count) override;
  [[nodiscard]] int interrupt_fd(std::uint16_t /*vector*/) const override { return -1; }
  bool take_interrupt(std::uint16_t /*vector*/) override { return false; }
  /// Resets the virtio part: there is no other. The status says when it is done.
  Result<void> reset() override;

 private:
  MmioTransport(std::unique_ptr<MmioBus> bus, DmaPool pool);

  void describe(std::uint16_t device_type);
  Result<std::uint64_t> read_common(std::uint64_t offset);
  Result<void> write_common(std::uint64_t offset, std::uint64_t value);
  Result<std::uint64_t> count_queues();
  Result<std::uint64_t> queue_size();
  Result<std::uint32_t> get(std::uint32_t offset);
  Result<void> set(std::uint32_t offset, std::uint64_t value);

  std::unique_ptr<MmioBus> bus_;
  DmaPool pool_;
  std::array<std::byte, 256> config_{};
  pci::BarSizes bar_sizes_{};
  std::uint16_t queue_ = 0;                       // selected
  std::map<std::uint16_t, std::uint16_t> sizes_;  // written: the device does not say them again
};

}  // namespace airlock::driver
