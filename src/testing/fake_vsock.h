// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "pci/virtio_model.h"
#include "pci/virtio_pci_device.h"
#include "ring/device_queue.h"
#include "shm/sealed_memfd.h"
#include "spec/virtio.h"
#include "spec/virtio_vsock.h"

namespace airlock::testing {

/// A socket device that says whatever a test has it say, for tests of a driver: in the notifying
/// thread. It has no connections: `on_packet` answers, or doesn't.
class FakeVsock final : public pci::VirtioModel {
 public:
  using Header = spec::VirtioVsockHdr;

  std::uint64_t guest_cid = 5;
  std::uint64_t own_features = spec::feature(spec::VIRTIO_VSOCK_F_STREAM) |
                               spec::feature(spec::VIRTIO_VSOCK_F_SEQPACKET) |
                               spec::feature(spec::VIRTIO_VSOCK_F_NO_IMPLIED_STREAM);
  /// Called with each packet of the driver.
  std::function<void(const Header&, std::string_view)> on_packet;
  /// Called with the queue of each notification, after what was sent is taken.
  std::function<void(std::uint16_t)> on_notify;
  std::vector<Header> heard;
  std::uint16_t queues_offered = spec::VIRTIO_VSOCK_QUEUES;
  bool deaf = false;  // takes no packets; so it is after one that lies about its length

  void set_transport(pci::VirtioTransport* transport) { transport_ = transport; }
  /// Gives the driver a packet; the used length is `written`, or what is true. False: no buffer.
  bool say(const Header& header, std::string_view payload = {},
           std::optional<std::uint32_t> written = std::nullopt);
  /// An event; as above.
  bool say_event(std::uint32_t id, std::optional<std::uint32_t> written = std::nullopt);
  /// An answer to `packet`, from where it was going.
  static Header answer_to(const Header& packet, std::uint16_t op);
  /// Takes what the driver sent.
  void serve();

  [[nodiscard]] std::uint16_t device_type() const override { return spec::VIRTIO_ID_VSOCK; }
  [[nodiscard]] std::uint32_t pci_class() const override;
  [[nodiscard]] std::uint64_t features() const override { return own_features; }
  [[nodiscard]] std::uint16_t queue_count() const override { return queues_offered; }
  [[nodiscard]] std::uint16_t queue_size_max(std::uint16_t /*queue*/) const override { return 16; }
  [[nodiscard]] std::uint32_t config_size() const override {
    return sizeof(spec::VirtioVsockConfig);
  }
  void read_config(std::uint32_t offset, std::span<std::byte> target) const override;
  Result<void> start(const pci::Negotiated& negotiated,
                     std::span<const pci::QueueSetup> queues) override;
  void stop(std::function<void()> done) override;
  void reset_queue(std::uint16_t queue, std::function<void()> done) override;
  Result<void> start_queue(const pci::Negotiated& negotiated,
                           const pci::QueueSetup& queue) override;
  void notify(std::uint16_t queue) override;

  const window::Window* window = nullptr;

 private:
  bool put(std::uint16_t index, std::span<const std::byte> bytes,
           std::optional<std::uint32_t> written);
  [[nodiscard]] ring::DeviceQueue* find(std::uint16_t queue);
  void show(ring::DeviceQueue& queue);

  pci::VirtioTransport* transport_ = nullptr;
  std::vector<ring::DeviceQueue> queues_;
  bool serving_ = false;
};

/// With its device, its region and its window, ready to be driven.
struct FakeVsockDevice {
  FakeVsockDevice();

  shm::SealedMemfd memfd;
  shm::Mapping mapping;
  window::Window window;
  FakeVsock vsock;

  /// The device, made at the first call: configure `vsock` before.
  [[nodiscard]] pci::VirtioPciDevice& device();

 private:
  std::unique_ptr<pci::VirtioPciDevice> device_;
};

}  // namespace airlock::testing
