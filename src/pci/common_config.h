// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "pci/virtio_model.h"
#include "spec/virtio_pci.h"

namespace airlock::pci {

/// What the common configuration asks of the device that it belongs to.
class CommonConfigOwner {
 public:
  CommonConfigOwner() = default;
  virtual ~CommonConfigOwner() = default;
  CommonConfigOwner(const CommonConfigOwner&) = delete;
  CommonConfigOwner& operator=(const CommonConfigOwner&) = delete;

  [[nodiscard]] virtual std::uint8_t device_status() const = 0;
  [[nodiscard]] virtual std::uint8_t config_generation() const = 0;
  virtual void write_status(std::uint8_t value) = 0;
  virtual void write_queue_enable(std::uint16_t queue) = 0;
  virtual void write_queue_reset(std::uint16_t queue) = 0;
};

/// The registers of the common configuration structure. VIRTIO 1.3, 4.1.4.3.
///
/// A read or write of any size and offset is well defined: a read is a slice of all registers; a
/// write goes to the registers that it overlaps, in their order, each merged with the bytes that it
/// had. Control thread only, but for the vectors.
class CommonConfig {
 public:
  struct Options {
    std::uint64_t offered = 0;               // features
    std::uint16_t vectors = 0;               // of MSI-X
    std::uint32_t length = 0;                // bytes shown: with dmb_shm_id, or without
    std::uint8_t dmb_shm_id = 0;             // DMB-D4
    std::vector<std::uint16_t> queue_sizes;  // the largest of each queue
  };

  CommonConfig(Options options, CommonConfigOwner& owner);

  [[nodiscard]] std::uint32_t length() const { return options_.length; }
  /// [offset, offset + size) is inside length().
  void read(std::uint32_t offset, std::span<std::byte> target) const;
  void write(std::uint32_t offset, std::span<const std::byte> source);

  /// All registers as they are after a reset.
  void reset();

  [[nodiscard]] std::uint64_t offered() const { return options_.offered; }
  /// The driver's features.
  [[nodiscard]] std::uint64_t accepted() const;
  /// Whether it set bits that no device of today has (64 and above).
  [[nodiscard]] bool accepted_beyond() const;

  [[nodiscard]] std::uint16_t queue_count() const;
  [[nodiscard]] std::uint16_t queue_size_max(std::uint16_t queue) const;
  /// The registers of a queue, as the driver left them.
  [[nodiscard]] QueueSetup queue(std::uint16_t queue) const;
  [[nodiscard]] bool queue_enabled(std::uint16_t queue) const;
  void set_queue_enabled(std::uint16_t queue);

  // The reset of one queue. VIRTIO 1.3, 2.6.1, 4.1.4.3.1.
  /// From now on queue_reset reads 1, and the queue's registers ignore what is written.
  void begin_queue_reset(std::uint16_t queue);
  /// The queue's registers are as after a reset of the device, and the queue may be enabled again
  /// while the device runs.
  void finish_queue_reset(std::uint16_t queue);
  [[nodiscard]] bool queue_resetting(std::uint16_t queue) const;
  /// Whether the queue was reset by itself, and not enabled since.
  [[nodiscard]] bool queue_was_reset(std::uint16_t queue) const;

  /// Any thread. VIRTIO_MSI_NO_VECTOR where there is none.
  [[nodiscard]] std::uint16_t config_vector() const { return config_vector_.load(); }
  [[nodiscard]] std::uint16_t queue_vector(std::uint16_t queue) const;

 private:
  struct Queue {
    std::uint16_t size = 0;
    bool enabled = false;
    bool resetting = false;
    bool was_reset = false;
    std::atomic<std::uint16_t> vector{spec::VIRTIO_MSI_NO_VECTOR};
    std::uint64_t descriptor_area = 0;
    std::uint64_t driver_area = 0;
    std::uint64_t device_area = 0;
  };
  static constexpr std::size_t kFeatureWords = 4;

  void reset_registers(std::uint16_t queue);
  [[nodiscard]] spec::VirtioPciCommonCfgDmb image() const;
  void image_of_queue(spec::VirtioPciCommonCfg& common) const;
  void set_register(std::uint32_t offset, std::uint64_t value);
  void set_queue_register(std::uint32_t offset, std::uint64_t value);
  void set_driver_feature(std::uint32_t value);
  [[nodiscard]] std::uint16_t checked_vector(std::uint64_t value) const;

  Options options_;
  CommonConfigOwner& owner_;
  std::uint32_t device_feature_select_ = 0;
  std::uint32_t driver_feature_select_ = 0;
  std::array<std::uint32_t, kFeatureWords> driver_features_{};
  std::atomic<std::uint16_t> config_vector_{spec::VIRTIO_MSI_NO_VECTOR};
  std::uint16_t queue_select_ = 0;
  std::vector<Queue> queues_;
};

}  // namespace airlock::pci
