// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "device/device_type.h"
#include "device/rng/rng_allowance.h"
#include "device/rng/rng_queue.h"
#include "ring/features.h"

namespace airlock::device {

/// What a random number device did so far. Plain numbers.
struct RngCounts {
  std::uint64_t requests = 0;
  std::uint64_t bytes = 0;
  std::uint64_t waits = 0;

  friend bool operator==(const RngCounts&, const RngCounts&) = default;
};

/// A source of random numbers: those of this machine's kernel. VIRTIO 1.3, 5.4.
class RngDevice final : public DeviceType {
 public:
  struct Options {
    // NOLINTNEXTLINE(readability-redundant-member-init): for GCC, where it is left out
    RngAllowance::Limit limit{};
    std::uint16_t queue_size = 64;
    /// Features of rings that are on offer, as a mask.
    std::uint64_t ring_features = ring::Features::kMask;
  };

  /// Errors: kBadQueueSize (no power of two up to 32768); kSystem (EAGAIN: the kernel has no random
  /// numbers yet).
  static Result<std::unique_ptr<RngDevice>> create(const Options& options);

  [[nodiscard]] std::uint16_t virtio_id() const override;
  [[nodiscard]] std::uint32_t pci_class() const override;
  [[nodiscard]] std::uint64_t features() const override { return ring_features_; }
  [[nodiscard]] std::uint16_t queue_count() const override { return 1; }
  [[nodiscard]] std::uint16_t queue_size_max(std::uint16_t queue) const override {
    return queue == 0 ? queue_size_ : std::uint16_t{0};
  }
  [[nodiscard]] std::span<const std::byte> config() const override { return {}; }
  Result<std::unique_ptr<QueueTask>> make_queue(const QueueContext& context) override;

  /// Any thread.
  [[nodiscard]] RngCounts counts() const;

 private:
  RngDevice(const Options& options, RngAllowance allowance);

  std::uint16_t queue_size_;
  std::uint64_t ring_features_;
  RngAllowance allowance_;
  RngMetrics metrics_;
};

/// Bytes of the smallest region that has room for the queue and requests; a power of two.
[[nodiscard]] std::uint64_t rng_region_bytes_min(std::uint16_t queue_size);

}  // namespace airlock::device
