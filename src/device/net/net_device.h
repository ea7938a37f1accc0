// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "backend/net_backend.h"
#include "device/device_type.h"
#include "device/net/net_command.h"
#include "device/net/net_config.h"
#include "device/net/net_control_queue.h"
#include "device/net/net_metrics.h"
#include "device/net/net_shared.h"
#include "ring/features.h"

namespace airlock::device {

/// A virtio network card over any network backend. VIRTIO 1.3, 5.1.
///
/// Each queue has a thread of its own: one that receives never waits for one that sends. What
/// drivers change with control commands is changed by the control thread alone; all of it is
/// forgotten when the device is reset.
class NetDevice final : public DeviceType {
 public:
  struct Options {
    std::unique_ptr<backend::NetBackend> backend;
    NetShape shape;
    /// Features of rings that are on offer as well, as a mask.
    std::uint64_t ring_features = ring::Features::kMask;
  };

  /// Opens a channel for each pair of queues. Errors: kBadQueueSize (queue_size is no power of two
  /// of kNetQueueSizeLeast to kNetQueueSizeMost), kOutOfRange (pairs: none, more than kNetPairsMost
  /// or than the backend has channels; an MTU below 68), kSystem.
  static Result<std::unique_ptr<NetDevice>> create(Options options);
  ~NetDevice() override;

  [[nodiscard]] std::uint16_t virtio_id() const override;
  [[nodiscard]] std::uint32_t pci_class() const override;
  [[nodiscard]] std::uint64_t features() const override { return features_; }
  [[nodiscard]] bool accepts(std::uint64_t features) const override {
    return net_features_hold(features);
  }
  [[nodiscard]] std::uint16_t queue_count() const override { return shape_.queues(); }
  [[nodiscard]] std::uint16_t queue_size_max(std::uint16_t queue) const override {
    return queue < shape_.queues() ? shape_.queue_size : std::uint16_t{0};
  }
  [[nodiscard]] std::span<const std::byte> config() const override {
    return std::as_bytes(std::span(&config_, 1)).first(kNetConfigBytes);
  }
  void attach(const DeviceHost& host) override;
  Result<std::unique_ptr<QueueTask>> make_queue(const QueueContext& context) override;
  void stopped() override;

  [[nodiscard]] const backend::NetBackend& backend() const { return *backend_; }
  /// What one queue did so far, and all of them together. Any thread.
  [[nodiscard]] NetCounts counts(std::uint16_t queue) const;
  [[nodiscard]] NetCounts counts() const;

 private:
  explicit NetDevice(Options options);
  Result<void> open_pairs();
  /// A driver starts the device: nothing of another one's is left. Errors: the backend's.
  Result<void> begin(std::uint64_t features);
  Result<std::unique_ptr<QueueTask>> make_control_queue(const QueueContext& context);
  /// Carries out a command that was checked; VIRTIO_NET_OK or VIRTIO_NET_ERR.
  std::uint8_t carry_out(const NetCommand& command);
  Result<void> use_pairs(std::uint16_t pairs);
  Result<void> use_offloads(std::uint64_t offloads);
  void follow_link();
  void set_status(std::uint16_t bit, bool on);

  std::unique_ptr<backend::NetBackend> backend_;
  NetShape shape_;
  std::uint64_t features_;
  spec::VirtioNetConfig config_;
  DeviceHost host_;
  NetShared shared_;
  std::vector<NetPair> pairs_;
  std::vector<NetQueueMetrics> metrics_;  // by queue
  bool started_ = false;                  // a driver has queues, or had until stopped()
  std::uint64_t negotiated_ = 0;          // with that driver
  NetFilter filter_;                      // of that driver
  std::shared_ptr<NetAnswer> answer_;     // of the control queue that there is
  std::shared_ptr<NetDevice*> self_;      // what is posted finds null in it once the device is gone
};

}  // namespace airlock::device
