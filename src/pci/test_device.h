// SPDX-License-Identifier: Apache-2.0
//
// For tests and fuzz targets: a device with a model that only records, and the register accesses of
// a driver that may lie.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "pci/capabilities.h"
#include "pci/virtio_pci_device.h"
#include "shm/sealed_memfd.h"
#include "spec/virtio.h"

namespace airlock::pci {

/// A device type that does nothing and remembers what it was told.
class RecordingModel final : public VirtioModel {
 public:
  std::uint64_t own_features = spec::feature(spec::VIRTIO_F_EVENT_IDX);
  std::vector<std::uint16_t> queue_sizes{256, 128};
  std::vector<std::byte> config = std::vector<std::byte>(60);
  std::uint64_t refused_features = 0;  // accepts() is false for a choice with one of these
  std::optional<Error> start_error;
  bool stop_later = false;  // keeps `done` for finish_stop(), and finish_queue_resets()

  std::vector<Negotiated> starts;
  std::vector<QueueSetup> queues;
  std::vector<std::uint16_t> notified;
  std::vector<std::uint16_t> queue_resets;
  unsigned stops = 0;

  [[nodiscard]] std::uint16_t device_type() const override { return spec::VIRTIO_ID_BLOCK; }
  [[nodiscard]] std::uint32_t pci_class() const override { return spec::PCI_CLASS_STORAGE_SCSI; }
  [[nodiscard]] std::uint64_t features() const override { return own_features; }
  [[nodiscard]] bool accepts(std::uint64_t features) const override {
    return (features & refused_features) == 0;
  }
  [[nodiscard]] std::uint16_t queue_count() const override {
    return static_cast<std::uint16_t>(queue_sizes.size());
  }
  [[nodiscard]] std::uint16_t queue_size_max(std::uint16_t queue) const override {
    return queue_sizes[queue];
  }
  [[nodiscard]] std::uint32_t config_size() const override {
    return static_cast<std::uint32_t>(config.size());
  }
  void read_config(std::uint32_t offset, std::span<std::byte> target) const override;
  void write_config(std::uint32_t offset, std::span<const std::byte> source) override;
  Result<void> start(const Negotiated& negotiated, std::span<const QueueSetup> setups) override;
  void stop(std::function<void()> done) override;
  void reset_queue(std::uint16_t queue, std::function<void()> done) override;
  Result<void> start_queue(const Negotiated& negotiated, const QueueSetup& setup) override;
  void notify(std::uint16_t queue) override { notified.push_back(queue); }
  [[nodiscard]] bool stopping() const { return static_cast<bool>(stop_done_); }
  /// Queue resets that were begun come first.
  void finish_stop();
  void finish_queue_resets();

 private:
  std::function<void()> stop_done_;
  std::vector<std::function<void()>> reset_done_;
};

/// A device on a region of its own, and a driver's hands on its registers. What can't be had, and
/// an access outside a region, stops the test (CHECK).
class TestDevice final : public ConfigReader {
 public:
  static constexpr std::uint64_t kRegionSize = std::uint64_t{1} << 20;
  static constexpr std::uint64_t kBusBase = 0x8'0000'0000;

  TestDevice() : TestDevice(VirtioPciDevice::Options{}) {}
  explicit TestDevice(const VirtioPciDevice::Options& options,
                      std::unique_ptr<RecordingModel> with = std::make_unique<RecordingModel>());

  shm::SealedMemfd memfd;
  shm::Mapping mapping;
  window::Window window;
  std::unique_ptr<RecordingModel> model_owner;
  RecordingModel& model;
  std::unique_ptr<VirtioPciDevice> device;

  template <class T>
  [[nodiscard]] T read(unsigned region, std::uint64_t offset) {
    T value{};
    MUST(device->read(region, offset, std::as_writable_bytes(std::span(&value, 1))));
    return value;
  }
  template <class T>
  void write(unsigned region, std::uint64_t offset, std::type_identity_t<T> value) {
    MUST(device->write(region, offset, std::as_bytes(std::span(&value, 1))));
  }
  Result<void> read_config(std::uint16_t offset, std::span<std::byte> target) override {
    return device->read(kConfigRegion, offset, target);
  }

  // Registers.
  [[nodiscard]] std::uint8_t status();
  void set_status(std::uint8_t status);
  [[nodiscard]] std::uint64_t offered();
  void accept(std::uint64_t features);
  void select(std::uint16_t queue);
  [[nodiscard]] bool enabled(std::uint16_t queue);
  void reset_queue(std::uint16_t queue);
  [[nodiscard]] bool resetting(std::uint16_t queue);

  // Steps of VIRTIO 1.3, 3.1.1.
  /// Acknowledges, accepts, and asks for FEATURES_OK; true if it was given.
  bool negotiate(std::uint64_t features);
  /// Writes a queue's registers and enables it; true if that took.
  bool enable_queue(const QueueSetup& queue);
  /// A queue whose areas lie in the region, in the address mode that was agreed upon.
  [[nodiscard]] QueueSetup good_queue(std::uint16_t index);
  void driver_ok();

  /// Programs the region's BAR and turns memory decoding on.
  void place_region(std::uint64_t address);
  [[nodiscard]] BarSizes bar_sizes() const;
};

}  // namespace airlock::pci
