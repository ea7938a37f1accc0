// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "device/device_type.h"
#include "device/vsock/vsock_queue.h"
#include "ring/features.h"
#include "spec/virtio_vsock.h"

namespace airlock::device {

/// A virtio socket device between a guest and sockets of its host. VIRTIO 1.3, 5.10.
class VsockDevice final : public DeviceType {
 public:
  struct Options {
    std::uint32_t guest_cid = spec::VIRTIO_VSOCK_CID_GUEST_MIN;
    std::uint16_t queue_size = 256;  // entries, a power of two
    std::size_t connections_most = 10240;
    bool seqpacket = true;                 // on offer; streams always are
    std::vector<VsockListener> listeners;  // where the host's clients come
    std::unique_ptr<VsockConnector> connector;
    std::uint64_t ring_features = ring::Features::kMask;  // on offer as well, as a mask
  };

  /// Errors: kBadQueueSize, kOutOfRange (the cid is a reserved one), kSystem.
  static Result<std::unique_ptr<VsockDevice>> create(Options options);

  [[nodiscard]] std::uint16_t virtio_id() const override { return spec::VIRTIO_ID_VSOCK; }
  [[nodiscard]] std::uint32_t pci_class() const override;
  [[nodiscard]] std::uint64_t features() const override { return features_; }
  [[nodiscard]] std::uint16_t queue_count() const override { return spec::VIRTIO_VSOCK_QUEUES; }
  [[nodiscard]] std::uint16_t queue_size_max(std::uint16_t queue) const override {
    return queue < spec::VIRTIO_VSOCK_QUEUES ? queue_size_ : std::uint16_t{0};
  }
  [[nodiscard]] std::span<const std::byte> config() const override {
    return std::as_bytes(std::span(&config_, 1));
  }
  Result<std::unique_ptr<QueueTask>> make_queue(const QueueContext& context) override;
  void stopped() override { shared_.connections->clear(); }

  /// Any thread.
  [[nodiscard]] VsockCounts counts() const { return shared_.connections->counts(); }

 private:
  explicit VsockDevice(Options options);

  std::uint16_t queue_size_;
  std::uint64_t features_;
  spec::VirtioVsockConfig config_;
  std::unique_ptr<VsockConnector> connector_;
  VsockShared shared_;
};

}  // namespace airlock::device
