// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/event_fd.h"
#include "driver/bar_layout.h"
#include "driver/transport.h"
#include "pci/virtio_pci_device.h"
#include "shm/sealed_memfd.h"

namespace airlock::testing {

/// What a hostile device does to each access of a driver. An empty function is an honest answer.
struct Lies {
  /// Changes what a register reads as.
  std::function<void(const driver::Register&, std::uint64_t&)> on_read;
  /// True: the write never arrives.
  std::function<bool(const driver::Register&, std::uint64_t)> on_write;
  /// Changes what configuration space reads as.
  std::function<void(std::uint16_t offset, std::span<std::byte>)> on_config_read;
  /// What reading a register fails with, if it does.
  std::optional<Error> read_error;
  /// What the region's mapping fails with, if it does.
  std::optional<Error> map_error;
};

/// A device of this very process, reached by function calls, with lies in between. Honest unless
/// told otherwise. One thread. The device, the memory and the lies must outlive it.
class FakeTransport final : public driver::PciTransport {
 public:
  struct Options {
    bool interrupts = false;
    bool names_file = false;  // of the region
  };

  /// Places the BARs and switches decoding on.
  FakeTransport(pci::VirtioPciDevice& device, const shm::SealedMemfd& region, Lies& lies,
                const Options& options);

  Result<void> read_config(std::uint16_t offset, std::span<std::byte> target) override;
  Result<void> write_config(std::uint16_t offset, std::span<const std::byte> source) override;
  [[nodiscard]] const pci::BarSizes& bar_sizes() const override { return bar_sizes_; }
  Result<std::uint64_t> read(const driver::Register& from) override;
  Result<void> write(const driver::Register& to, std::uint64_t value) override;
  Result<void> post(const driver::Register& to, std::uint64_t value) override {
    return write(to, value);
  }
  Result<driver::MappedRegion> map(const pci::BarRange& range) override;
  [[nodiscard]] std::uint16_t interrupt_vectors() const override;
  Result<void> enable_interrupts(const pci::MsixLocation& msix, std::uint16_t count) override;
  [[nodiscard]] int interrupt_fd(std::uint16_t vector) const override;
  bool take_interrupt(std::uint16_t vector) override;
  Result<void> reset() override;

 private:
  void place();

  pci::VirtioPciDevice& device_;
  const shm::SealedMemfd& region_;
  Lies& lies_;
  Options options_;
  pci::BarSizes bar_sizes_{};
  driver::BarAddresses addresses_{};
  std::vector<EventFd> events_;
};

}  // namespace airlock::testing
