// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "pci/virtio_model.h"
#include "pci/virtio_pci_device.h"
#include "ring/device_queue.h"
#include "shm/sealed_memfd.h"
#include "spec/virtio_blk.h"
#include "testing/fake_device.h"

namespace airlock::testing {

/// A small disk in memory, for tests of a driver: serves a request the moment that it is notified,
/// in the notifying thread. Honest unless told otherwise.
class FakeDisk final : public pci::VirtioModel {
 public:
  /// What the device makes of a request before it answers: a hostile one changes it.
  struct Answer {
    std::uint8_t status = spec::VIRTIO_BLK_S_OK;
    std::uint32_t written = 0;
  };

  std::vector<std::byte> bytes = std::vector<std::byte>(std::size_t{1} << 20);
  spec::VirtioBlkConfig config{};
  std::uint64_t own_features = 0;
  std::vector<std::uint16_t> queue_sizes{64};
  bool held = false;  // serves nothing by itself: serve() does
  std::function<void(const spec::VirtioBlkReqHeader&, Answer&)> on_answer;

  FakeDisk();
  /// For interrupts, once the device around it is made.
  void set_transport(pci::VirtioTransport* transport) { transport_ = transport; }

  /// Serves what is in the rings, at most `most` requests.
  void serve(std::size_t most = 1000);
  /// The ring of a queue, to lie in: a split one. Only while the device runs.
  [[nodiscard]] FakeDevice raw(std::uint16_t queue) const;
  /// Where the driver put a queue. Only while the device runs.
  [[nodiscard]] const pci::QueueSetup& setup(std::uint16_t queue) const {
    return setups_.at(queue);
  }
  [[nodiscard]] bool running() const { return !queues_.empty(); }
  /// How often a queue was started: who keeps a view of one looks whether it is still the same.
  [[nodiscard]] std::size_t starts() const { return starts_; }
  /// Does what a request asks for, wherever that was taken from, and returns how many bytes of it
  /// were written.
  [[nodiscard]] std::uint32_t handle(const ring::Chain& chain);
  [[nodiscard]] std::size_t served() const { return served_; }
  /// The headers, in order.
  std::vector<spec::VirtioBlkReqHeader> seen;

  [[nodiscard]] std::uint16_t device_type() const override { return spec::VIRTIO_ID_BLOCK; }
  [[nodiscard]] std::uint32_t pci_class() const override;
  [[nodiscard]] std::uint64_t features() const override { return own_features; }
  [[nodiscard]] std::uint16_t queue_count() const override {
    return static_cast<std::uint16_t>(queue_sizes.size());
  }
  [[nodiscard]] std::uint16_t queue_size_max(std::uint16_t queue) const override {
    return queue_sizes[queue];
  }
  [[nodiscard]] std::uint32_t config_size() const override { return 60; }
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
  [[nodiscard]] std::uint8_t transfer(const spec::VirtioBlkReqHeader& header,
                                      const ring::Chain& chain, std::uint32_t data_bytes);

  pci::VirtioTransport* transport_ = nullptr;
  std::vector<ring::DeviceQueue> queues_;
  std::vector<pci::QueueSetup> setups_;
  std::size_t served_ = 0;
  std::size_t starts_ = 0;
};

/// The disk with its device, its region and its window, ready to be driven.
struct FakeDiskDevice {
  struct Options {
    std::uint64_t region_bytes = std::uint64_t{1} << 20;
    pci::NegotiationOptions negotiation{};
    /// Its region, instead of one of its own: a duplicate, as of a memfd that devices share.
    // NOLINTNEXTLINE(readability-redundant-member-init): for GCC, where it is left out
    std::shared_ptr<const shm::SealedMemfd> shared{};
  };
  explicit FakeDiskDevice(const Options& options);

  shm::SealedMemfd memfd;
  shm::Mapping mapping;
  window::Window window;
  FakeDisk disk;

  /// The device, made at the first call: configure `disk` before.
  [[nodiscard]] pci::VirtioPciDevice& device();

 private:
  Options options_;
  std::unique_ptr<pci::VirtioPciDevice> device_;
};

}  // namespace airlock::testing
