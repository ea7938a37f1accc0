// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "driver/transport.h"

namespace airlock::driver {

/// A PCI device of this machine, through the files that Linux shows of it: needs root, and no
/// IOMMU, no VFIO, no huge pages and no pinned memory, since the device is given none of ours.
/// Polled: sysfs has no interrupts.
///
/// The region is mapped by the file resourceN, uncached (uncached-minus), and never by
/// resourceN_wc, write-combining, which Linux has for prefetchable BARs. The rings rest on the
/// order of x86: stores are seen in their order, loads are made in theirs. Uncached memory keeps
/// more than that, write-combining memory keeps neither: stores wait in buffers and leave in any
/// order, so that a device that polls the ring could see an index before the descriptors that it
/// stands for, and loads may be made ahead. Only SFENCE and LFENCE at every barrier would help, for
/// loads that are no faster than uncached ones. Where the hypervisor ignores the guest's memory
/// types, as KVM does on Intel, either is write-back.
class SysfsTransport final : public PciTransport {
 public:
  struct Options {
    std::string address;                        // as in 0000:00:05.0
    std::string root = "/sys/bus/pci/devices";  // another one for tests
    std::string lockdown = "/sys/kernel/security/lockdown";
  };

  /// Whether `text` has the form dddd:bb:dd.f, so that it names no other file.
  static bool is_address(std::string_view text);

  /// Opens the device and enables it, with memory and bus mastering. explain_obstacle() knows what
  /// to do about a refusal. Errors: kSystem with ENODEV (no such device), EBUSY (a kernel driver is
  /// bound to it), EPERM (the kernel is locked down: memory of devices is not for programs), EACCES
  /// (not root) and others; kMalformed (an address or a file that makes no sense).
  static Result<std::unique_ptr<SysfsTransport>> open(const Options& options);

  Result<void> read_config(std::uint16_t offset, std::span<std::byte> target) override;
  Result<void> write_config(std::uint16_t offset, std::span<const std::byte> source) override;
  [[nodiscard]] const pci::BarSizes& bar_sizes() const override { return bar_sizes_; }
  Result<std::uint64_t> read(const Register& from) override;
  Result<void> write(const Register& to, std::uint64_t value) override;
  Result<void> post(const Register& to, std::uint64_t value) override { return write(to, value); }
  /// kUnsupported where the processor would map the region as device memory, which ordinary copies
  /// must not touch: everywhere but on x86 (DEF-6). kSystem with EPERM or EINVAL where the kernel
  /// keeps the memory from programs.
  Result<MappedRegion> map(const pci::BarRange& range) override;
  [[nodiscard]] std::uint16_t interrupt_vectors() const override { return 0; }
  Result<void> enable_interrupts(const pci::MsixLocation& msix, std::uint16_t count) override;
  [[nodiscard]] int interrupt_fd(std::uint16_t /*vector*/) const override { return -1; }
  bool take_interrupt(std::uint16_t /*vector*/) override { return false; }
  /// Through the file `reset`, where the device has a way to be reset.
  Result<void> reset() override;

 private:
  explicit SysfsTransport(std::string folder) : folder_(std::move(folder)) {}
  Result<void> read_resources();
  Result<void> enable();
  Result<shm::Mapping> map_bar(std::uint8_t bar, std::uint64_t offset, std::uint64_t length) const;
  Result<shm::SharedBytes> registers_of(const Register& where);

  std::string folder_;
  Fd config_;
  pci::BarSizes bar_sizes_{};
  std::array<std::uint64_t, spec::PCI_STD_NUM_BARS> addresses_{};
  std::mutex lock_;  // for registers_
  std::array<shm::Mapping, spec::PCI_STD_NUM_BARS> registers_;
};

}  // namespace airlock::driver
