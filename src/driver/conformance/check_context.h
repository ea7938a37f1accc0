// SPDX-License-Identifier: Apache-2.0
//
// What a check has of the device: configuration space as found, registers, the region, and one
// queue in it that may hold anything.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "driver/common_registers.h"
#include "driver/conformance/check.h"
#include "driver/conformance/raw_queue.h"
#include "driver/transport.h"
#include "spec/virtio.h"

namespace airlock::driver::conformance {

/// One entry of the capability list, unchecked. For those of virtio the rest of the fields.
struct RawCapability {
  std::uint8_t position = 0;  // offset in configuration space
  std::uint8_t id = 0;        // PCI_CAP_ID_*
  std::uint8_t length = 0;    // cap_len
  std::uint8_t type = 0;      // cfg_type
  std::uint8_t bar = 0;
  std::uint8_t shm_id = 0;
  std::uint64_t offset = 0;  // with the upper half, where the type has one
  std::uint64_t bytes = 0;   // the field `length`, in the same way
};

/// How a device offers its region.
enum class RegionKind : std::uint8_t {
  kNone,
  kCapability,  // capability 10, and no feature bit
  kSwiotlb,     // VIRTIO_F_SWIOTLB and capability 10
  kDmb,         // VIRTIO_F_DMB and shared memory
};

/// One device under test. Decides nothing, but for where the region is. Errors are the transport's,
/// and kTimeout where the device does not do what it must. Not thread-safe.
class CheckContext {
 public:
  struct Options {
    bool destructive = false;                 // checks may write to the disk
    std::chrono::milliseconds timeout{3000};  // for each thing that the device must do
    std::chrono::milliseconds quiet{20};      // how long is watched that it does nothing
    std::uint64_t foreign_requests = 0;       // that it sent before, over other transports
    /// Where somebody who echoes listens, behind a socket device; nothing: nobody is known to.
    // NOLINTNEXTLINE(readability-redundant-member-init): lets initializers leave it out
    std::optional<std::uint32_t> vsock_port{};
  };

  /// Reads configuration space and the offer. The transport outlives this.
  static Result<CheckContext> create(PciTransport& transport, const Options& options);

  [[nodiscard]] const Options& options() const { return options_; }
  [[nodiscard]] PciTransport& transport() { return *transport_; }

  // --- as found when this was made ---
  using ConfigBytes = std::array<std::byte, spec::PCI_CFG_SPACE_SIZE>;
  [[nodiscard]] const ConfigBytes& config() const { return config_; }
  [[nodiscard]] std::uint32_t config_word(std::uint8_t offset, unsigned bytes) const;
  [[nodiscard]] const std::vector<RawCapability>& raw_capabilities() const { return raw_; }
  /// Whether the list came back on itself or left configuration space.
  [[nodiscard]] bool list_is_sound() const { return list_is_sound_; }
  /// What a driver can use of it.
  [[nodiscard]] const pci::VirtioPciCapabilities& capabilities() const { return capabilities_; }
  [[nodiscard]] std::uint64_t offered() const { return offered_; }
  [[nodiscard]] bool offers(unsigned bit) const { return (offered_ & spec::feature(bit)) != 0; }
  /// VIRTIO_ID_*; 0 for what is no virtio device.
  [[nodiscard]] std::uint16_t device_type() const;
  [[nodiscard]] RegionKind region_kind() const { return region_kind_; }

  // --- registers; only with what Needs::kRegisters stands for ---
  [[nodiscard]] CommonRegisters& common() { return *common_; }
  [[nodiscard]] const pci::BarRange& common_place() const { return common_place_; }
  [[nodiscard]] const pci::BarRange& notify_place() const { return notify_place_; }
  /// One field of the common configuration, by offset.
  template <class T>
  Result<T> get(std::size_t offset) {
    return static_cast<T>(TRY(transport_->read(common_register(offset, Width{sizeof(T)}))));
  }
  template <class T>
  Result<void> put(std::size_t offset, T value) {
    return transport_->write(common_register(offset, Width{sizeof(T)}), value);
  }
  /// One field of the device configuration; 0 where it ends before.
  Result<std::uint64_t> device_config(std::size_t offset, Width width);
  Result<std::uint8_t> read_isr();

  // --- the life of the device ---
  /// Resets it and waits for that.
  Result<void> reset();
  /// Resets, then offers to accept exactly `features`: whether FEATURES_OK was kept.
  Result<bool> negotiate(std::uint64_t features);
  /// What this driver accepts: as little as it can with, with the region, and a disk's basics.
  [[nodiscard]] std::uint64_t own_features() const;
  /// These too from now on, where they are offered; the suite takes them back for each check.
  void accept_also(std::uint64_t features) { also_ = features; }
  /// queue() is the device's queue `index` from now on; the suite makes it 0 again for each check.
  void use_queue(std::uint16_t index) { index_ = index; }
  /// other_queue() is the device's queue `index`, and runs too from the next bring_up() on; the
  /// suite takes it back for each check.
  void use_other_queue(std::optional<std::uint16_t> index) { other_index_ = index; }
  /// The bit of the region; 0 without.
  [[nodiscard]] std::uint64_t region_feature() const;
  Result<void> add_status(std::uint8_t bits);
  /// Whether one of the bits is there before the deadline.
  Result<bool> wait_status(std::uint8_t bits);

  // --- the region; only with what Needs::kRegion stands for ---
  /// Finds and maps the region, once. Errors: kNoRegion, kFeaturesRefused, kTooSmall, those of the
  /// transport.
  Result<void> open_region();
  /// The first address of the region and the first one beyond, as a device is told.
  [[nodiscard]] std::uint64_t region_start() const;
  [[nodiscard]] std::uint64_t region_end() const { return region_start() + region_bytes_; }
  [[nodiscard]] std::uint64_t region_bytes() const { return region_bytes_; }
  [[nodiscard]] RawQueue& queue() { return *queue_; }
  [[nodiscard]] RawQueue& other_queue() { return *other_queue_; }

  /// negotiate() with own_features(), and an empty queue 0 with its vectors set, not yet enabled.
  /// Errors: kFeaturesRefused.
  Result<void> prepare();
  /// Tells the device where queue 0 is, and enables it.
  Result<void> enable_queue(const ring::QueueAreas& areas);
  /// All of it, to DRIVER_OK.
  Result<void> bring_up();
  Result<void> notify();
  Result<void> notify_other();
  /// The same with VIRTIO_F_NOTIFICATION_DATA: `data` is all 32 bits.
  Result<void> notify_with_data(std::uint32_t data);
  /// Waits for used.idx of queue(), or of either, to be `index`. Errors: kNeedsReset, kTimeout.
  Result<void> wait_used(std::uint16_t index) { return wait_used(*queue_, index); }
  Result<void> wait_used(const RawQueue& queue, std::uint16_t index);

  // --- interrupts ---
  /// Whether vectors 0 (configuration) and 1 (queue 0) can be had here.
  [[nodiscard]] bool has_vectors() const { return has_vectors_; }
  /// Whether the vector fires before the deadline, or in Options::quiet. Drains it.
  bool wait_vector(std::uint16_t vector);
  bool fires_in_quiet(std::uint16_t vector);
  void drain_vectors();
  /// Whether the device signals a change of configuration, by vector 0, or in ISR without vectors.
  Result<bool> wait_config_signal();
  /// Waits Options::quiet, in which nothing is expected.
  void watch() const;

 private:
  CheckContext(PciTransport& transport, const Options& options)
      : transport_(&transport), options_(options) {}
  void walk_capabilities();
  void take_capability(std::uint8_t position);
  [[nodiscard]] RegionKind find_region_kind() const;
  [[nodiscard]] Register common_register(std::size_t offset, Width width) const {
    return {.bar = common_place_.bar, .offset = common_place_.offset + offset, .width = width};
  }
  Result<pci::BarRange> locate_region();
  Result<void> enable(std::uint16_t index, ring::QueueSize size, const ring::QueueAreas& areas);
  Result<Register> notify_register(std::uint16_t index, Width width);
  bool wait_vector_for(std::uint16_t vector, std::chrono::milliseconds time);

  PciTransport* transport_;
  Options options_;
  ConfigBytes config_{};
  std::vector<RawCapability> raw_;
  bool list_is_sound_ = true;
  pci::VirtioPciCapabilities capabilities_;
  pci::BarRange common_place_;
  pci::BarRange notify_place_;
  pci::BarRange isr_place_;
  std::unique_ptr<CommonRegisters> common_;  // with what Needs::kRegisters stands for
  std::uint64_t offered_ = 0;
  std::uint64_t also_ = 0;
  std::uint16_t index_ = 0;                   // of queue_
  std::optional<std::uint16_t> other_index_;  // of other_queue_, where it is in use
  RegionKind region_kind_ = RegionKind::kNone;
  MappedRegion region_;
  std::uint64_t region_bytes_ = 0;
  std::unique_ptr<RawQueue> queue_;        // from open_region() on
  std::unique_ptr<RawQueue> other_queue_;  // the same
  bool has_vectors_ = false;
};

}  // namespace airlock::driver::conformance
