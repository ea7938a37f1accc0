// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"
#include "device/device_type.h"
#include "spec/pci.h"
#include "spec/virtio.h"

namespace airlock::testing {

/// A device type with one queue that nobody runs, and four bytes of configuration.
class IdleType final : public device::DeviceType {
 public:
  [[nodiscard]] std::uint16_t virtio_id() const override { return spec::VIRTIO_ID_BLOCK; }
  [[nodiscard]] std::uint32_t pci_class() const override { return spec::PCI_CLASS_STORAGE_SCSI; }
  [[nodiscard]] std::uint64_t features() const override { return 0; }
  [[nodiscard]] std::uint16_t queue_count() const override { return 1; }
  [[nodiscard]] std::uint16_t queue_size_max(std::uint16_t /*queue*/) const override { return 8; }
  [[nodiscard]] std::span<const std::byte> config() const override { return config_; }
  void write_config(std::uint32_t offset, std::span<const std::byte> source) override {
    std::ranges::copy(source, config_.begin() + offset);
  }
  Result<std::unique_ptr<device::QueueTask>> make_queue(
      const device::QueueContext& /*context*/) override {
    return fail(Errc::kUnsupported);
  }
  void attach(const device::DeviceHost& host) override { host_ = host; }
  void stopped() override { ++stops_; }

  void change(std::byte value) {
    config_.fill(value);
    host_.config_changed();
  }
  [[nodiscard]] int stops() const { return stops_; }

 private:
  std::array<std::byte, 4> config_{};
  device::DeviceHost host_;
  int stops_ = 0;
};

}  // namespace airlock::testing
