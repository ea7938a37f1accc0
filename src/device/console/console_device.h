// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backend/port_backend.h"
#include "device/console/console_host.h"
#include "device/console/console_messages.h"
#include "device/console/console_port.h"
#include "device/device_type.h"
#include "ring/features.h"
#include "spec/virtio_console.h"

namespace airlock::device {

/// A console, and other ports between a guest and its host. VIRTIO 1.3, 5.3.
class ConsoleDevice final : public DeviceType {
 public:
  static constexpr std::size_t kPortsMost = 16;
  struct Port {
    std::string name;  // how a guest finds it: /dev/virtio-ports/NAME; cut at 64 bytes
    std::unique_ptr<backend::PortBackend> backend;
  };
  struct Options {
    std::vector<Port> ports;  // the first is the console
    std::uint16_t queue_size = 64;
    /// Features of rings that are on offer, as a mask.
    std::uint64_t ring_features = ring::Features::kMask;
  };

  /// Errors: kBadQueueSize (no power of two up to 32768); kOutOfRange (no port, or too many);
  /// kSystem.
  static Result<std::unique_ptr<ConsoleDevice>> create(Options options);
  /// Queues must be gone. What guests wrote last is written as far as there is room.
  ~ConsoleDevice() override;

  [[nodiscard]] std::uint16_t virtio_id() const override;
  [[nodiscard]] std::uint32_t pci_class() const override;
  [[nodiscard]] std::uint64_t features() const override;
  [[nodiscard]] std::uint16_t queue_count() const override;
  [[nodiscard]] std::uint16_t queue_size_max(std::uint16_t queue) const override {
    return queue < queue_count() ? queue_size_ : std::uint16_t{0};
  }
  [[nodiscard]] std::span<const std::byte> config() const override {
    return std::as_bytes(std::span(&config_, 1));
  }
  Result<std::unique_ptr<QueueTask>> make_queue(const QueueContext& context) override;
  void attach(const DeviceHost& host) override { host_link_ = host; }
  /// An emergency write, to the console, whatever state the device is in. VIRTIO 1.3, 5.3.4.1.
  void write_config(std::uint32_t offset, std::span<const std::byte> source) override;
  void stopped() override;

  [[nodiscard]] const ConsoleHost::Ports& ports() const { return ports_; }
  /// Control messages that made no sense. Any thread.
  [[nodiscard]] std::uint64_t ignored_messages() const { return messages_.ignored(); }

 private:
  ConsoleDevice(const Options& options, ConsoleHost::Ports ports, std::unique_ptr<Wake> host_wake,
                ConsoleControl control, Wake message_wake);
  void host_changed(std::uint32_t port, const ConsolePort::Change& change);
  void show_size(const backend::WindowSize& size);

  std::uint16_t queue_size_;
  std::uint64_t ring_features_;
  spec::VirtioConsoleConfig config_;  // control thread
  DeviceHost host_link_;
  std::unique_ptr<Wake> host_wake_;
  ConsoleHost::Ports ports_;
  ConsoleMessages messages_;
  std::shared_ptr<ConsoleDevice*> self_;  // what is posted finds null in it once this is gone
  ConsoleHost host_;                      // last: its thread uses what is above
};

/// Bytes of the smallest region that has room for the queues of so many ports and what a driver
/// keeps in them; a power of two.
[[nodiscard]] std::uint64_t console_region_bytes_min(std::size_t ports, std::uint16_t queue_size);

}  // namespace airlock::device
