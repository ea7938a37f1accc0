// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "guard/access.h"
#include "guard/config_space.h"
#include "spec/vfio_user.h"

namespace airlock::guard {

/// What a driver has set a virtio device up with, as its register writes say. With it another
/// device process can be brought to the same point, and registers be answered for that read back
/// what was written. VIRTIO 1.3, 4.1.4.3 and 3.1.1.
class VirtioRecord {
 public:
  explicit VirtioRecord(const VirtioPlaces& places) : places_(places) {}

  /// The driver writes.
  void wrote(const RegionWrite& write);
  /// The device was reset by other means.
  void reset();
  /// Puts what is known here over `bytes`, which are believed to stand at `offset` of `region`.
  void overlay(std::uint32_t region, std::uint64_t offset, std::span<std::byte> bytes) const;

  /// Whether the write resets the device: a status of 0.
  [[nodiscard]] bool is_reset(const RegionWrite& write) const;
  [[nodiscard]] RegionWrite reset_write() const;
  /// Whether a write there is a notification: it says that there may be work, no more.
  [[nodiscard]] bool is_notification(std::uint32_t region, std::uint64_t offset) const;
  /// The writes that bring a device that was just reset to this point, in order. What the status
  /// says only of the device is left out.
  [[nodiscard]] std::vector<RegionWrite> setup() const;
  /// Where the status is.
  [[nodiscard]] spec::VfioUserRegionAccess status_access() const;
  /// What it is once a device is set up.
  [[nodiscard]] std::byte status() const { return std::byte{status_}; }
  /// A notification for each queue that was ever notified.
  [[nodiscard]] std::vector<RegionWrite> notifications() const;

  /// There is no device any more: its status says DEVICE_NEEDS_RESET until the driver resets it,
  /// and never FEATURES_OK after that.
  void set_gone() { needs_reset_ = gone_ = true; }
  /// Where a queue lies that the driver has enabled.
  struct QueueAreas {
    std::uint16_t size = 0;
    std::uint64_t descriptors = 0;
    std::uint64_t driver = 0;
    std::uint64_t device = 0;
    std::uint32_t life = 0;  // another one each time that it is enabled
    friend bool operator==(const QueueAreas&, const QueueAreas&) = default;
  };
  /// Those of a device that is in use, by index; none before DRIVER_OK.
  [[nodiscard]] std::map<std::uint16_t, QueueAreas> queue_areas() const;
  /// Bits 0 to 63 of what the driver accepted.
  [[nodiscard]] std::uint64_t features() const;

  /// Whether the driver has said DRIVER_OK, so that it hears of DEVICE_NEEDS_RESET.
  [[nodiscard]] bool driver_ok() const;
  /// The vector of configuration changes; VIRTIO_MSI_NO_VECTOR for none.
  [[nodiscard]] std::uint16_t config_vector() const { return config_vector_; }

 private:
  struct Queue {
    std::uint16_t size = 0;  // 0: as the device has it
    std::uint16_t vector = 0xffff;
    std::uint64_t descriptors = 0;
    std::uint64_t driver = 0;
    std::uint64_t device = 0;
    std::uint32_t life = 0;
    bool enabled = false;
  };

  void wrote_common(std::uint64_t offset, std::span<const std::byte> bytes);
  void wrote_queue(std::uint64_t offset, std::uint64_t value, std::size_t size);
  void wrote_enable(bool enabled);
  void wrote_status(std::uint8_t status);

  VirtioPlaces places_;
  std::uint8_t status_ = 0;
  bool needs_reset_ = false;
  bool gone_ = false;
  std::uint32_t device_feature_select_ = 0;
  std::uint32_t driver_feature_select_ = 0;
  std::map<std::uint32_t, std::uint32_t> features_;  // by select
  std::uint16_t config_vector_ = 0xffff;
  std::uint16_t queue_select_ = 0;
  std::map<std::uint16_t, Queue> queues_;
  std::uint32_t lives_ = 0;  // of all queues, whatever was reset
  std::map<std::uint64_t, std::vector<std::byte>> device_config_;  // by offset in the region
  std::map<std::uint64_t, std::vector<std::byte>> notified_;       // likewise
};

}  // namespace airlock::guard
