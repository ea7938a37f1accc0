// SPDX-License-Identifier: Apache-2.0
//
// How a VirtioPciDevice is made: its BARs, and the capabilities that say what is in them.
#include <algorithm>
#include <array>
#include <utility>

#include <fmt/core.h>

#include "base/checked.h"
#include "core/range.h"
#include "pci/capabilities.h"
#include "pci/virtio_pci_device.h"
#include "spec/virtio.h"

namespace airlock::pci {

namespace {

constexpr std::uint32_t kDeviceConfigMax = kNotifyOffset - kDeviceConfigOffset;
constexpr std::uint16_t kSubsystem = 0x1100;  // from 0x40 on: not transitional. VIRTIO 1.3, 4.1.2.1

spec::VirtioPciCap capability(std::uint8_t type, std::size_t length) {
  return {.cap_vndr = spec::PCI_CAP_ID_VNDR,
          .cap_next = 0,
          .cap_len = static_cast<std::uint8_t>(length),
          .cfg_type = type,
          .bar = 0,
          .id = 0,
          .padding = {},
          .offset = Le32(0),
          .length = Le32(0)};
}

spec::VirtioPciCap registers_capability(std::uint8_t type, std::uint32_t offset,
                                        std::uint32_t length) {
  spec::VirtioPciCap cap = capability(type, sizeof cap);
  cap.bar = kRegistersBar;
  cap.offset.set(offset);
  cap.length.set(length);
  return cap;
}

std::uint32_t common_length(const Negotiation& negotiation) {
  const bool dmb =
      negotiation.shows_region() && negotiation.options().offer == AddressOffer::kOffset;
  return dmb ? sizeof(spec::VirtioPciCommonCfgDmb) : sizeof(spec::VirtioPciCommonCfg);
}

ConfigSpace::Identity identity_of(const VirtioModel& model) {
  return {
      .vendor = spec::VIRTIO_PCI_VENDOR_ID,
      .device = static_cast<std::uint16_t>(spec::VIRTIO_PCI_DEVICE_ID_BASE + model.device_type()),
      .subsystem_vendor = spec::VIRTIO_PCI_VENDOR_ID,
      .subsystem = kSubsystem,
      .revision = spec::VIRTIO_PCI_REVISION_MODERN,
      .class_code = model.pci_class()};
}

Result<std::vector<std::uint16_t>> queue_sizes(const VirtioModel& model) {
  const std::uint16_t count = model.queue_count();
  if (count > kQueuesMax) return fail({.code = Errc::kTooLarge, .address = count});
  std::vector<std::uint16_t> sizes(count);
  for (std::uint16_t queue = 0; queue < count; ++queue) {
    const std::uint16_t size = model.queue_size_max(queue);
    if (size != 0 && !airlock_is_power_of_two(size)) {
      return fail({.code = Errc::kBadQueueSize, .queue = queue, .detail = size});
    }
    sizes[queue] = size;
  }
  return sizes;
}

Result<void> check_region(const Negotiation& negotiation, std::uint64_t size) {
  if (!negotiation.shows_region()) return {};
  if (!airlock_is_power_of_two(size)) return fail({.code = Errc::kNotPowerOfTwo, .address = size});
  if (size < kRegionAlignment) return fail({.code = Errc::kTooSmall, .address = kRegionAlignment});
  // Capability 10 has 32 bits for the length. PCI-0.
  const bool fits = size <= std::numeric_limits<std::uint32_t>::max();
  if (negotiation.options().offer == AddressOffer::kBus && !fits) {
    return fail({.code = Errc::kTooLarge, .address = size});
  }
  return {};
}

std::string name_of(std::uint16_t device_type) {
  switch (device_type) {
    case spec::VIRTIO_ID_NET:
      return "net";
    case spec::VIRTIO_ID_BLOCK:
      return "blk";
    case spec::VIRTIO_ID_CONSOLE:
      return "console";
    case spec::VIRTIO_ID_RNG:
      return "rng";
    case spec::VIRTIO_ID_VSOCK:
      return "vsock";
    default:
      return fmt::format("virtio device type {}", device_type);
  }
}

}  // namespace

struct VirtioPciDevice::Parts {
  Negotiation negotiation;
  std::uint16_t vectors = 0;
  std::uint8_t region_shm_id = 0;
  std::string name;
  std::vector<std::uint16_t> queue_sizes;
  std::shared_ptr<LogLimit> log_limit;
};

Result<std::unique_ptr<VirtioPciDevice>> VirtioPciDevice::create(const Options& options,
                                                                 VirtioModel& model,
                                                                 window::Window& window) {
  const Negotiation negotiation = TRY(Negotiation::create(options.negotiation));
  TRY(check_region(negotiation, window.region().size()));
  if (model.config_size() > kDeviceConfigMax) {
    return fail({.code = Errc::kTooLarge, .address = model.config_size()});
  }
  if (options.vectors > spec::PCI_MSIX_VECTORS_MAX) {
    return fail({.code = Errc::kTooLarge, .address = options.vectors});
  }
  std::vector<std::uint16_t> sizes = TRY(queue_sizes(model));
  const auto one_each = static_cast<std::uint16_t>(sizes.size() + 1);
  Parts parts{.negotiation = negotiation,
              .vectors = options.vectors != 0 ? options.vectors : one_each,
              .region_shm_id = options.region_shm_id,
              .name = options.name.empty() ? name_of(model.device_type()) : options.name,
              .queue_sizes = std::move(sizes),
              .log_limit = options.log_limit};
  std::unique_ptr<VirtioPciDevice> device(new VirtioPciDevice(std::move(parts), model, window));
  TRY(device->build_config());
  return device;
}

VirtioPciDevice::VirtioPciDevice(Parts parts, VirtioModel& model, window::Window& window)
    : model_(model),
      window_(window),
      name_(std::move(parts.name)),
      region_shm_id_(parts.region_shm_id),
      negotiation_(parts.negotiation),
      config_(identity_of(model)),
      msix_table_(parts.vectors),
      vectors_(parts.vectors),
      common_({.offered = parts.negotiation.offered(model.features()),
               .vectors = parts.vectors,
               .length = common_length(parts.negotiation),
               .dmb_shm_id = parts.region_shm_id,
               .queue_sizes = std::move(parts.queue_sizes)},
              *this),
      log_limit_(std::move(parts.log_limit)) {
  if (negotiation_.encrypts()) {
    encryption_ = std::make_unique<EncryptionConfig>(
        negotiation_.options().encryption, common_.queue_count(),
        [this](std::uint16_t queue) { return encryption_open(queue); });
  }
  window_.configure(window::AddressMode::kBus, window::Reach::kNothing);
  follow_region_bar();
}

VirtioPciDevice::RegionInfo VirtioPciDevice::region_info(unsigned region) const {
  if (region == kConfigRegion) return {.size = ConfigSpace::kSize};
  const std::uint64_t size = config_.bar_size(region);
  return {.size = size, .mappable = region == kRegionBar && size != 0};
}

Result<void> VirtioPciDevice::build_config() {
  const std::uint32_t registers = encryption_ ? 2 * kRegistersSize : kRegistersSize;
  TRY(config_.define_bar(kRegistersBar, BarKind::kMemory32, registers));
  TRY(config_.define_bar(kMsixBar, BarKind::kMemory32, msix_table_.bar_size()));
  if (negotiation_.shows_region()) {
    TRY(config_.define_bar(kRegionBar, BarKind::kMemory64Prefetchable, window_.region().size()));
  }
  TRY(add_virtio_capabilities());

  const std::uint8_t msix = TRY(config_.add_capability(msix_table_.capability(kMsixBar)));
  const Le16 switches(spec::PCI_MSIX_FLAGS_ENABLE | spec::PCI_MSIX_FLAGS_MASKALL);
  config_.allow_write(static_cast<std::uint8_t>(msix + offsetof(spec::PciMsixCap, message_control)),
                      std::as_bytes(std::span(&switches, 1)));
  if (negotiation_.shows_region()) TRY(add_region_capability());
  if (encryption_) TRY(add_encryption_capability());
  return {};
}

Result<void> VirtioPciDevice::add_virtio_capabilities() {
  TRY(config_.add_capability(
      registers_capability(spec::VIRTIO_PCI_CAP_COMMON_CFG, kCommonOffset, common_.length())));

  spec::VirtioPciNotifyCap notify{};
  notify.cap = registers_capability(spec::VIRTIO_PCI_CAP_NOTIFY_CFG, kNotifyOffset,
                                    kRegistersSize - kNotifyOffset);
  notify.cap.cap_len = sizeof notify;
  notify.notify_off_multiplier.set(kNotifyMultiplier);
  TRY(config_.add_capability(notify));

  TRY(config_.add_capability(registers_capability(spec::VIRTIO_PCI_CAP_ISR_CFG, kIsrOffset, 1)));
  if (const std::uint32_t size = model_.config_size(); size != 0) {
    TRY(config_.add_capability(
        registers_capability(spec::VIRTIO_PCI_CAP_DEVICE_CFG, kDeviceConfigOffset, size)));
  }

  spec::VirtioPciCfgCap access{};
  access.cap = capability(spec::VIRTIO_PCI_CAP_PCI_CFG, sizeof access);
  window_capability_ = TRY(config_.add_capability(access));
  // The driver writes bar, offset, length and data. VIRTIO 1.3, 4.1.4.9.
  std::array<std::byte, sizeof access> mask{};
  mask[offsetof(spec::VirtioPciCap, bar)] = std::byte{0xff};
  std::ranges::fill(std::span(mask).subspan(offsetof(spec::VirtioPciCap, offset)), std::byte{0xff});
  config_.allow_write(window_capability_, mask);
  return {};
}

// Bus addresses: capability 10 (PCI-0). Offsets: shared memory that dmb_shm_id names (DMB-D4).
Result<void> VirtioPciDevice::add_region_capability() {
  const std::uint64_t size = window_.region().size();
  if (negotiation_.options().offer == AddressOffer::kBus) {
    spec::VirtioPciCap cap = capability(spec::VIRTIO_PCI_CAP_SWIOTLB, sizeof cap);
    cap.bar = kRegionBar;
    cap.length.set(static_cast<std::uint32_t>(size));
    TRY(config_.add_capability(cap));
    return {};
  }
  spec::VirtioPciCap64 shared{};
  shared.cap = capability(spec::VIRTIO_PCI_CAP_SHARED_MEMORY_CFG, sizeof shared);
  shared.cap.bar = kRegionBar;
  shared.cap.id = region_shm_id_;
  shared.cap.length.set(static_cast<std::uint32_t>(size));
  shared.length_hi.set(static_cast<std::uint32_t>(size >> 32));
  TRY(config_.add_capability(shared));
  return {};
}

// ENC-1.
Result<void> VirtioPciDevice::add_encryption_capability() {
  TRY(config_.add_capability(registers_capability(spec::VIRTIO_PCI_CAP_ENCRYPTION_CFG,
                                                  kEncryptionOffset, EncryptionConfig::kLength)));
  return {};
}

}  // namespace airlock::pci
