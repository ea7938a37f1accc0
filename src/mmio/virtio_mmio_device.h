// SPDX-License-Identifier: Apache-2.0
//
// A virtio device behind the registers of virtio-mmio, whose memory is a restricted DMA pool: a
// range of the guest's own that the device tree names. VIRTIO 1.3, 4.2.2; REQUIREMENTS 1.3, SYS-3.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "pci/virtio_pci_device.h"

namespace airlock::mmio {

/// Bytes of the device on the bus: the registers, and the configuration behind them.
inline constexpr std::uint64_t kDeviceBytes = 0x1000;

/// What a device does with drivers that do not know VIRTIO_F_SWIOTLB. None gives them any memory
/// but the pool.
enum class PoolPolicy : std::uint8_t {
  kRequire,     // withholds FEATURES_OK from who does not accept it (GEN-DV1)
  kTolerate,    // offers it, and serves who declines: an old system may use the pool all the same,
                // as the device tree says (MMIO-N2, MMIO-N3)
  kNotOffered,  // never offers it: an ordinary device, with the pool for all its memory
};

/// The device. Registers alone are its own: negotiation, queues and the life of a device are those
/// of pci::VirtioPciDevice, whose common configuration has the same registers in another order.
/// One thread calls it.
class VirtioMmioDevice {
 public:
  struct Options {
    PoolPolicy policy = PoolPolicy::kTolerate;
    window::BusAddress pool_base{};  // where the guest has the pool
    std::string name{};              // NOLINT(readability-redundant-member-init): as in pci
    std::shared_ptr<LogLimit> log_limit = std::make_shared<LogLimit>();
  };

  /// The memory in `window` is the pool, and so is that of `pool`, its file; the pool's size is a
  /// power of two of at least a page, and its address a multiple of that. Model and window outlive
  /// the device. Errors: kNotAligned, kTooLarge (a configuration beyond kDeviceBytes), and those of
  /// pci::VirtioPciDevice::create() and window::GuestMemory::map().
  static Result<std::unique_ptr<VirtioMmioDevice>> create(const Options& options,
                                                          pci::VirtioModel& model,
                                                          window::Window& window, const Fd& pool);

  /// An access of a driver, in [0, kDeviceBytes). A register is accessed as what it is, 32 bits
  /// wide and aligned (VIRTIO 1.3, 4.2.2.2): anything else reads 0 and writes nothing.
  /// Errors: kOutOfRange (it is not inside the device).
  Result<void> read(std::uint64_t offset, std::span<std::byte> target);
  Result<void> write(std::uint64_t offset, std::span<const std::byte> source);

  /// The interrupt line: signalled when InterruptStatus may have changed. Errors: kOutOfRange
  /// never.
  Result<void> set_interrupt(EventFd event) {
    return device_->vectors().install(0, std::move(event));
  }

  [[nodiscard]] std::uint8_t status() const { return device_->status(); }
  [[nodiscard]] const pci::Negotiated& negotiated() const { return device_->negotiated(); }
  [[nodiscard]] bool running() const { return device_->running(); }
  [[nodiscard]] std::uint64_t violations() const { return device_->violations(); }
  [[nodiscard]] std::uint64_t refusals() const { return device_->refusals(); }
  /// What the model talks to.
  [[nodiscard]] pci::VirtioTransport& transport() { return *device_; }

 private:
  VirtioMmioDevice(std::unique_ptr<pci::VirtioPciDevice> device, pci::VirtioModel& model)
      : device_(std::move(device)), model_(model) {}

  void place_pool(window::BusAddress base);
  [[nodiscard]] std::uint32_t read_register(std::uint32_t offset);
  void write_register(std::uint32_t offset, std::uint32_t value);
  void write_ready(std::uint32_t value);
  void write_status(std::uint32_t value);
  void notify(std::uint32_t value);
  [[nodiscard]] std::uint32_t interrupt_status();

  template <class T>
  [[nodiscard]] T common(std::size_t offset);
  template <class T>
  void set_common(std::size_t offset, T value);

  std::unique_ptr<pci::VirtioPciDevice> device_;
  pci::VirtioModel& model_;
  std::uint32_t interrupts_ = 0;  // of the ISR, until they are acknowledged
};

}  // namespace airlock::mmio
