// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backend/block_backend.h"
#include "device/blk/blk_config.h"
#include "device/blk/blk_metrics.h"
#include "device/blk/blk_queue.h"
#include "device/device_type.h"
#include "ring/features.h"
#include "spec/virtio_blk.h"

namespace airlock::device {

/// A virtio disk over any block backend. VIRTIO 1.3, 5.2.
class BlkDevice final : public DeviceType {
 public:
  struct Options {
    std::unique_ptr<backend::BlockBackend> backend;
    BlkShape shape;
    /// What GET_ID answers; cut at 20 bytes. A guest names its disk by it (/dev/disk/by-id).
    std::string id = "airlock";
    /// Features of rings that are on offer as well, as a mask.
    std::uint64_t ring_features = ring::Features::kMask;
    OnError on_error = OnError::kReport;
  };

  /// Errors: kBadQueueSize (queue_size is no power of two of 4 to 32768, or there are no queues);
  /// kSystem.
  static Result<std::unique_ptr<BlkDevice>> create(Options options);

  [[nodiscard]] std::uint16_t virtio_id() const override;
  [[nodiscard]] std::uint32_t pci_class() const override;
  [[nodiscard]] std::uint64_t features() const override;
  [[nodiscard]] std::uint16_t queue_count() const override { return shape_.queues; }
  [[nodiscard]] std::uint16_t queue_size_max(std::uint16_t queue) const override {
    return queue < shape_.queues ? shape_.queue_size : std::uint16_t{0};
  }
  [[nodiscard]] std::span<const std::byte> config() const override {
    return std::as_bytes(std::span(&config_, 1)).first(kBlkConfigBytes);
  }
  Result<std::unique_ptr<QueueTask>> make_queue(const QueueContext& context) override;

  /// Has the requests that are held, as OnError has it, tried again now. Any thread.
  void retry_held() const;

  [[nodiscard]] const backend::BlockBackend& backend() const { return *backend_; }
  /// What one queue did so far, and all of them together. Any thread.
  [[nodiscard]] BlkCounts counts(std::uint16_t queue) const;
  [[nodiscard]] BlkCounts counts() const;
  /// Requests whose bytes this process itself copied between the region and the disk, and those
  /// bytes. Any thread.
  [[nodiscard]] std::uint64_t copies() const;
  [[nodiscard]] std::uint64_t copied_bytes() const;

 private:
  explicit BlkDevice(Options options);

  std::unique_ptr<backend::BlockBackend> backend_;
  BlkShape shape_;
  std::uint64_t ring_features_;
  spec::VirtioBlkConfig config_;
  BlkShared shared_;
  OnError on_error_;
  std::vector<BlkQueueMetrics> metrics_;  // by queue
  std::vector<EventFd> retry_bells_;      // by queue; empty with kReport
};

}  // namespace airlock::device
