// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "pci/virtio_model.h"
#include "pci/virtio_pci_device.h"
#include "ring/device_queue.h"
#include "shm/sealed_memfd.h"
#include "spec/virtio_net.h"
#include "testing/fake_device.h"

namespace airlock::testing {

/// A network card for tests of a driver: serves transmit and control queues the moment that they
/// are notified, in the notifying thread, and delivers frames when it is told to. Honest unless
/// told otherwise.
class FakeNet final : public pci::VirtioModel {
 public:
  using Bytes = std::vector<std::byte>;

  /// How a frame is delivered, if not honestly.
  struct Delivery {
    // NOLINTBEGIN(readability-redundant-member-init): GCC wants one, where a caller leaves it out
    spec::VirtioNetHdr header = {};
    std::optional<std::uint16_t> num_buffers = {};     // says this
    std::optional<std::uint32_t> written = {};         // says this of the first buffer
    std::optional<std::size_t> buffer_bytes_max = {};  // uses no more of a buffer
    // NOLINTEND(readability-redundant-member-init)
  };
  struct Command {
    spec::VirtioNetCtrlHdr header;
    Bytes data;
  };

  spec::VirtioNetConfig config{};
  std::uint64_t own_features = 0;
  std::vector<std::uint16_t> queue_sizes{16, 16, 16};
  bool held = false;        // serves nothing by itself: serve() does
  bool loops = false;       // delivers what it was sent
  std::vector<Bytes> sent;  // frames, without headers
  std::vector<spec::VirtioNetHdr> sent_headers;
  std::vector<Command> commands;
  std::optional<std::uint8_t> ack;                        // answers every command with this
  std::function<void(std::uint32_t& written)> on_return;  // of what was sent, and commands

  FakeNet();
  /// For interrupts, once the device around it is made.
  void set_transport(pci::VirtioTransport* transport) { transport_ = transport; }

  /// Serves what is in the transmit and control rings.
  void serve();
  /// Puts a frame into receive queue 0. False: the driver gave too few buffers.
  bool deliver(std::span<const std::byte> frame, const Delivery& how);
  bool deliver(std::span<const std::byte> frame) { return deliver(frame, {}); }
  /// The ring of a queue, to lie in: a split one, in bus address mode. Only while the device runs.
  [[nodiscard]] FakeDevice raw(std::uint16_t queue) const;
  [[nodiscard]] bool running() const { return !queues_.empty(); }

  [[nodiscard]] std::uint16_t device_type() const override { return spec::VIRTIO_ID_NET; }
  [[nodiscard]] std::uint32_t pci_class() const override;
  [[nodiscard]] std::uint64_t features() const override { return own_features; }
  [[nodiscard]] std::uint16_t queue_count() const override {
    return static_cast<std::uint16_t>(queue_sizes.size());
  }
  [[nodiscard]] std::uint16_t queue_size_max(std::uint16_t queue) const override {
    return queue_sizes[queue];
  }
  [[nodiscard]] std::uint32_t config_size() const override { return sizeof config; }
  void read_config(std::uint32_t offset, std::span<std::byte> target) const override;
  Result<void> start(const pci::Negotiated& negotiated,
                     std::span<const pci::QueueSetup> queues) override;
  void stop(std::function<void()> done) override;
  void reset_queue(std::uint16_t queue, std::function<void()> done) override;
  Result<void> start_queue(const pci::Negotiated& negotiated,
                           const pci::QueueSetup& queue) override;
  void notify(std::uint16_t queue) override;

  /// The window that the queues look through.
  const window::Window* window = nullptr;

 private:
  [[nodiscard]] ring::DeviceQueue* find(std::uint16_t queue);
  [[nodiscard]] bool is_control(std::uint16_t queue) const;
  void serve_queue(ring::DeviceQueue& queue);
  [[nodiscard]] std::uint32_t transmit(const ring::Chain& chain);
  [[nodiscard]] std::uint32_t obey(const ring::Chain& chain);
  [[nodiscard]] static bool knows(const Command& command);
  void show(ring::DeviceQueue& queue);

  pci::VirtioTransport* transport_ = nullptr;
  std::vector<ring::DeviceQueue> queues_;
  std::vector<pci::QueueSetup> setups_;
  std::uint64_t negotiated_ = 0;
};

/// The card with its device, its region and its window, ready to be driven.
struct FakeNetDevice {
  struct Options {
    std::uint64_t region_bytes = std::uint64_t{1} << 20;
    pci::NegotiationOptions negotiation{};
    /// Its region, instead of one of its own: a duplicate, as of a memfd that devices share.
    // NOLINTNEXTLINE(readability-redundant-member-init): for GCC, where it is left out
    std::shared_ptr<const shm::SealedMemfd> shared{};
  };
  explicit FakeNetDevice(const Options& options);

  shm::SealedMemfd memfd;
  shm::Mapping mapping;
  window::Window window;
  FakeNet net;

  /// The device, made at the first call: configure `net` before.
  [[nodiscard]] pci::VirtioPciDevice& device();

 private:
  Options options_;
  std::unique_ptr<pci::VirtioPciDevice> device_;
};

}  // namespace airlock::testing
