// SPDX-License-Identifier: Apache-2.0
//
// A modern virtio device on PCI, the device's side: registers, negotiation, queues' set-up, reset.
// How its accesses arrive (a vfio-user socket) and what it does (a VirtioModel) are elsewhere.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/log.h"
#include "pci/common_config.h"
#include "pci/config_space.h"
#include "pci/encryption_config.h"
#include "pci/msix.h"
#include "pci/negotiation.h"
#include "pci/virtio_model.h"

namespace airlock::pci {

/// The regions of a PCI device as VFIO numbers them: 0 to 5 are the BARs.
inline constexpr unsigned kRegistersBar = 0;
inline constexpr unsigned kMsixBar = 1;
inline constexpr unsigned kRegionBar = 2;  // and 3, its upper half
inline constexpr unsigned kConfigRegion = 7;

/// Where the structures are in kRegistersBar. Each has a page, so that a client can tell them apart
/// by it.
inline constexpr std::uint32_t kCommonOffset = 0x0000;
inline constexpr std::uint32_t kIsrOffset = 0x1000;
inline constexpr std::uint32_t kDeviceConfigOffset = 0x2000;
inline constexpr std::uint32_t kNotifyOffset = 0x3000;
inline constexpr std::uint32_t kRegistersSize = 0x4000;
/// Behind them, in a BAR of twice the size, where queues are encrypted.
inline constexpr std::uint32_t kEncryptionOffset = 0x4000;
inline constexpr std::uint32_t kNotifyMultiplier = 4;
inline constexpr std::uint16_t kQueuesMax = 0x1000 / kNotifyMultiplier;

/// Where in kRegistersBar a driver notifies `queue`.
constexpr std::uint64_t notify_offset(std::uint16_t queue) {
  return kNotifyOffset + std::uint64_t{queue} * kNotifyMultiplier;
}

/// The device. One thread, the control thread, calls everything but the three functions of
/// VirtioTransport, which any thread may.
class VirtioPciDevice final : public VirtioTransport, private CommonConfigOwner {
 public:
  struct Options {
    NegotiationOptions negotiation{};
    std::uint16_t vectors = 0;         // of MSI-X; 0: one a queue, and one for the configuration
    std::uint8_t region_shm_id = 128;  // one that no device type defines (DMB-D5)
    // in the log; empty: from the device type
    // NOLINTNEXTLINE(readability-redundant-member-init): lets initializers leave it out
    std::string name{};
    /// For lines that a driver can cause. Not null; devices that follow one another for one purpose
    /// share it, or a new client would be a way to fill the log.
    std::shared_ptr<LogLimit> log_limit = std::make_shared<LogLimit>();
  };

  /// The memory in `window` is the region: its size must be a power of two of at least a page,
  /// unless the policy is kOpen, which shows none. Model and window outlive the device.
  /// Errors: kNotPowerOfTwo, kTooSmall, kBadQueueSize, kTooLarge (too many queues, vectors or bytes
  /// of configuration), and those of Negotiation::create().
  static Result<std::unique_ptr<VirtioPciDevice>> create(const Options& options, VirtioModel& model,
                                                         window::Window& window);
  ~VirtioPciDevice() override;

  struct RegionInfo {
    std::uint64_t size = 0;  // bytes; 0: there is no such region
    bool mappable = false;   // it is the region: the window's memory, whole
  };
  [[nodiscard]] RegionInfo region_info(unsigned region) const;

  /// An access of a client: any size, any offset, all or nothing. What has no register reads 0 and
  /// ignores writes. Errors: kOutOfRange (it is not inside the region).
  Result<void> read(unsigned region, std::uint64_t offset, std::span<std::byte> target);
  Result<void> write(unsigned region, std::uint64_t offset, std::span<const std::byte> source);

  /// Back to power-on, as a bus reset does: PCI registers at once, the virtio part when the model
  /// has stopped, which is when `done` is called (before this returns if nothing ran). The region
  /// keeps its bytes (DEF-7) and the vectors their eventfds.
  void reset(std::function<void()> done = {});

  /// The client's eventfds.
  [[nodiscard]] MsixVectors& vectors() { return vectors_; }

  [[nodiscard]] std::uint8_t status() const { return status_.load(); }
  /// What was agreed; all zero before FEATURES_OK.
  [[nodiscard]] const Negotiated& negotiated() const { return negotiated_; }
  [[nodiscard]] bool running() const { return running_; }
  /// Rules that the driver broke, and FEATURES_OK withheld, since creation. Any thread.
  [[nodiscard]] std::uint64_t violations() const { return violations_.load(); }
  [[nodiscard]] std::uint64_t refusals() const { return refusals_.load(); }

  void interrupt_queue(std::uint16_t queue) override;
  void interrupt_config() override;
  [[nodiscard]] Result<Fd> queue_eventfd(std::uint16_t queue) override;
  void report_violation(const Error& error) override;

 private:
  struct Parts;
  VirtioPciDevice(Parts parts, VirtioModel& model, window::Window& window);

  Result<void> build_config();
  Result<void> add_virtio_capabilities();
  Result<void> add_region_capability();
  Result<void> add_encryption_capability();

  void read_config_region(std::uint16_t offset, std::span<std::byte> target);
  void write_config_region(std::uint16_t offset, std::span<const std::byte> source);
  void read_registers(std::uint64_t offset, std::span<std::byte> target);
  void write_registers(std::uint64_t offset, std::span<const std::byte> source);
  void read_bar(unsigned bar, std::uint64_t offset, std::span<std::byte> target);
  void write_bar(unsigned bar, std::uint64_t offset, std::span<const std::byte> source);
  void access_window(bool write);
  void follow_region_bar();

  [[nodiscard]] std::uint8_t device_status() const override { return status(); }
  [[nodiscard]] std::uint8_t config_generation() const override { return generation_.load(); }
  void write_status(std::uint8_t value) override;
  void write_queue_enable(std::uint16_t queue) override;
  void write_queue_reset(std::uint16_t queue) override;
  void negotiate();
  [[nodiscard]] bool encryption_open(std::uint16_t queue) const;
  Result<QueueSetup> setup_of(std::uint16_t queue);
  void finish_queue_reset(std::uint16_t queue);
  void start_model();
  void notify(std::uint64_t offset);
  void begin_reset();
  void finish_reset();
  void signal_config();
  void violate(const Error& error, const char* what);

  VirtioModel& model_;
  window::Window& window_;
  std::string name_;
  std::uint8_t region_shm_id_;
  Negotiation negotiation_;
  ConfigSpace config_;
  MsixTable msix_table_;
  MsixVectors vectors_;
  CommonConfig common_;
  std::unique_ptr<EncryptionConfig> encryption_;  // null: queues are not encrypted
  std::uint8_t window_capability_ = 0;  // offset of the PCI configuration access capability

  std::atomic<std::uint8_t> status_{0};
  std::atomic<std::uint8_t> isr_{0};
  std::atomic<std::uint8_t> generation_{0};
  Negotiated negotiated_;
  bool running_ = false;    // the model is between start() and stop()
  bool resetting_ = false;  // the model is stopping
  std::vector<std::function<void()>> when_reset_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for a late `done` of the model

  std::atomic<std::uint64_t> violations_{0};
  std::atomic<std::uint64_t> refusals_{0};
  std::shared_ptr<LogLimit> log_limit_;
};

}  // namespace airlock::pci
