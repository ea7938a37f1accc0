// SPDX-License-Identifier: Apache-2.0
#include "mmio/virtio_mmio_device.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "base/checked.h"
#include "core/range.h"
#include "spec/virtio_mmio.h"
#include "spec/virtio_pci.h"

namespace airlock::mmio {

namespace {

using Common = spec::VirtioPciCommonCfg;

constexpr std::uint32_t kVendorId = 0x4b4c5241;  // "ARLK"
constexpr std::uint32_t kRegisterBytes = 4;
constexpr std::uint32_t kNoRegion = 0xffffffff;  // VIRTIO 1.3, 4.2.2.2; BASE-8

pci::DmaPolicy dma_policy(PoolPolicy policy) {
  switch (policy) {
    case PoolPolicy::kRequire:
      return pci::DmaPolicy::kRequire;
    case PoolPolicy::kTolerate:
      return pci::DmaPolicy::kPrefer;
    case PoolPolicy::kNotOffered:
      return pci::DmaPolicy::kOpen;
  }
  return pci::DmaPolicy::kRequire;
}

std::uint16_t narrow(std::uint32_t value) {
  return saturate<std::uint16_t>(value);
}

/// Registers that are the common configuration's, as they are: 32 bits wide, for the driver to
/// write. Nothing where there is none.
std::optional<std::size_t> plain_register(std::uint32_t offset) {
  switch (offset) {
    case spec::VIRTIO_MMIO_DEVICE_FEATURES_SEL:
      return offsetof(Common, device_feature_select);
    case spec::VIRTIO_MMIO_DRIVER_FEATURES:
      return offsetof(Common, driver_feature);
    case spec::VIRTIO_MMIO_DRIVER_FEATURES_SEL:
      return offsetof(Common, driver_feature_select);
    case spec::VIRTIO_MMIO_QUEUE_DESC_LOW:
      return offsetof(Common, queue_desc);
    case spec::VIRTIO_MMIO_QUEUE_DESC_HIGH:
      return offsetof(Common, queue_desc) + kRegisterBytes;
    case spec::VIRTIO_MMIO_QUEUE_DRIVER_LOW:
      return offsetof(Common, queue_driver);
    case spec::VIRTIO_MMIO_QUEUE_DRIVER_HIGH:
      return offsetof(Common, queue_driver) + kRegisterBytes;
    case spec::VIRTIO_MMIO_QUEUE_DEVICE_LOW:
      return offsetof(Common, queue_device);
    case spec::VIRTIO_MMIO_QUEUE_DEVICE_HIGH:
      return offsetof(Common, queue_device) + kRegisterBytes;
    default:
      return std::nullopt;
  }
}

}  // namespace

Result<std::unique_ptr<VirtioMmioDevice>> VirtioMmioDevice::create(const Options& options,
                                                                   pci::VirtioModel& model,
                                                                   window::Window& window,
                                                                   const Fd& pool) {
  const std::uint64_t size = window.region().size();
  const std::uint64_t base = std::to_underlying(options.pool_base);
  if (model.config_size() > kDeviceBytes - spec::VIRTIO_MMIO_CONFIG) {
    return fail({.code = Errc::kTooLarge, .address = model.config_size()});
  }
  auto device =
      TRY(pci::VirtioPciDevice::create({.negotiation = {.policy = dma_policy(options.policy)},
                                        .vectors = 1,
                                        .name = options.name,
                                        .log_limit = options.log_limit},
                                       model, window));
  if (options.policy == PoolPolicy::kNotOffered) {
    TRY(window.guest_memory().map({.address = options.pool_base, .size = size}, pool));
  } else if (!airlock_is_aligned(base, size)) {
    return fail(
        {.code = Errc::kNotAligned, .detail = saturate<std::uint32_t>(size), .address = base});
  }
  std::unique_ptr<VirtioMmioDevice> made(new VirtioMmioDevice(std::move(device), model));
  if (options.policy != PoolPolicy::kNotOffered) made->place_pool(options.pool_base);
  return made;
}

// Once and for all: no driver moves memory of the guest's.
void VirtioMmioDevice::place_pool(window::BusAddress base) {
  constexpr std::uint16_t kBar = spec::PCI_BASE_ADDRESS_0 + kRegisterBytes * pci::kRegionBar;
  const Le64 address(std::to_underlying(base));
  const Le16 command(spec::PCI_COMMAND_MEMORY);
  MUST(device_->write(pci::kConfigRegion, kBar, std::as_bytes(std::span(&address, 1))));
  MUST(
      device_->write(pci::kConfigRegion, spec::PCI_COMMAND, std::as_bytes(std::span(&command, 1))));
}

template <class T>
T VirtioMmioDevice::common(std::size_t offset) {
  T value{};
  MUST(device_->read(pci::kRegistersBar, pci::kCommonOffset + offset,
                     std::as_writable_bytes(std::span(&value, 1))));
  return value;
}

template <class T>
void VirtioMmioDevice::set_common(std::size_t offset, T value) {
  MUST(device_->write(pci::kRegistersBar, pci::kCommonOffset + offset,
                      std::as_bytes(std::span(&value, 1))));
}

Result<void> VirtioMmioDevice::read(std::uint64_t offset, std::span<std::byte> target) {
  if (!airlock_range_within(offset, target.size(), kDeviceBytes)) {
    return fail({.code = Errc::kOutOfRange,
                 .detail = saturate<std::uint32_t>(target.size()),
                 .address = offset});
  }
  std::ranges::fill(target, std::byte{0});
  if (offset >= spec::VIRTIO_MMIO_CONFIG) {
    return device_->read(pci::kRegistersBar,
                         pci::kDeviceConfigOffset + (offset - spec::VIRTIO_MMIO_CONFIG), target);
  }
  if (target.size() != kRegisterBytes || !airlock_is_aligned(offset, kRegisterBytes)) return {};
  const Le32 value(read_register(static_cast<std::uint32_t>(offset)));
  std::memcpy(target.data(), &value, sizeof value);
  return {};
}

Result<void> VirtioMmioDevice::write(std::uint64_t offset, std::span<const std::byte> source) {
  if (!airlock_range_within(offset, source.size(), kDeviceBytes)) {
    return fail({.code = Errc::kOutOfRange,
                 .detail = saturate<std::uint32_t>(source.size()),
                 .address = offset});
  }
  if (offset >= spec::VIRTIO_MMIO_CONFIG) {
    return device_->write(pci::kRegistersBar,
                          pci::kDeviceConfigOffset + (offset - spec::VIRTIO_MMIO_CONFIG), source);
  }
  if (source.size() != kRegisterBytes || !airlock_is_aligned(offset, kRegisterBytes)) return {};
  Le32 value;
  std::memcpy(&value, source.data(), sizeof value);
  write_register(static_cast<std::uint32_t>(offset), value.get());
  return {};
}

std::uint32_t VirtioMmioDevice::read_register(std::uint32_t offset) {
  switch (offset) {
    case spec::VIRTIO_MMIO_MAGIC_VALUE:
      return spec::VIRTIO_MMIO_MAGIC;
    case spec::VIRTIO_MMIO_VERSION:
      return spec::VIRTIO_MMIO_VERSION_2;
    case spec::VIRTIO_MMIO_DEVICE_ID:
      return model_.device_type();
    case spec::VIRTIO_MMIO_VENDOR_ID:
      return kVendorId;
    case spec::VIRTIO_MMIO_DEVICE_FEATURES:
      return common<Le32>(offsetof(Common, device_feature)).get();
    case spec::VIRTIO_MMIO_QUEUE_SIZE_MAX: {
      const std::uint16_t queue = common<Le16>(offsetof(Common, queue_select)).get();
      return queue < model_.queue_count() ? model_.queue_size_max(queue) : 0;
    }
    case spec::VIRTIO_MMIO_QUEUE_READY:
      return common<Le16>(offsetof(Common, queue_enable)).get();
    case spec::VIRTIO_MMIO_INTERRUPT_STATUS:
      return interrupt_status();
    case spec::VIRTIO_MMIO_STATUS:
      return common<std::uint8_t>(offsetof(Common, device_status));
    case spec::VIRTIO_MMIO_SHM_LEN_LOW:
    case spec::VIRTIO_MMIO_SHM_LEN_HIGH:
    case spec::VIRTIO_MMIO_SHM_BASE_LOW:
    case spec::VIRTIO_MMIO_SHM_BASE_HIGH:
      return kNoRegion;  // the pool is the guest's own memory, and no region of the device's
    case spec::VIRTIO_MMIO_QUEUE_RESET:
      return common<Le16>(offsetof(Common, queue_reset)).get();
    case spec::VIRTIO_MMIO_CONFIG_GENERATION:
      return common<std::uint8_t>(offsetof(Common, config_generation));
    default:
      return 0;
  }
}

void VirtioMmioDevice::write_register(std::uint32_t offset, std::uint32_t value) {
  if (const auto plain = plain_register(offset)) return set_common(*plain, Le32(value));
  switch (offset) {
    case spec::VIRTIO_MMIO_QUEUE_SEL:
      // What is no queue's number selects none.
      return set_common(offsetof(Common, queue_select), Le16(narrow(value)));
    case spec::VIRTIO_MMIO_QUEUE_SIZE:
      return set_common(offsetof(Common, queue_size), Le16(narrow(value)));
    case spec::VIRTIO_MMIO_QUEUE_READY:
      return write_ready(value);
    case spec::VIRTIO_MMIO_QUEUE_NOTIFY:
      return notify(value);
    case spec::VIRTIO_MMIO_INTERRUPT_ACK:
      (void)interrupt_status();
      interrupts_ &= ~value;
      return;
    case spec::VIRTIO_MMIO_STATUS:
      return write_status(value);
    case spec::VIRTIO_MMIO_QUEUE_RESET:
      return set_common(offsetof(Common, queue_reset), Le16(narrow(value)));
    default:
      return;
  }
}

// There is one interrupt, so each queue has its only vector. A queue stops with the device, or by
// QueueReset: 0 alone stops none that runs.
void VirtioMmioDevice::write_ready(std::uint32_t value) {
  if (value != 1) return;
  set_common(offsetof(Common, queue_msix_vector), Le16(0));
  set_common(offsetof(Common, queue_enable), Le16(1));
}

void VirtioMmioDevice::write_status(std::uint32_t value) {
  if (value > std::numeric_limits<std::uint8_t>::max()) return;
  // Before the write, as it may be the reason for an interrupt.
  if (value != 0) set_common(offsetof(Common, config_msix_vector), Le16(0));
  set_common(offsetof(Common, device_status), static_cast<std::uint8_t>(value));
  if (value == 0) {
    (void)interrupt_status();
    interrupts_ = 0;
  }
}

// With VIRTIO_F_NOTIFICATION_DATA the lower half is the queue, and the rest not looked at; without,
// all of it is the queue. VIRTIO 1.3, 4.2.2.2, 2.9.
void VirtioMmioDevice::notify(std::uint32_t value) {
  const bool with_data = negotiated().has(spec::VIRTIO_F_NOTIFICATION_DATA);
  const std::uint16_t queue = with_data ? static_cast<std::uint16_t>(value) : narrow(value);
  if (queue >= model_.queue_count()) return;
  const Le16 wire(queue);
  MUST(device_->write(pci::kRegistersBar, pci::notify_offset(queue),
                      std::as_bytes(std::span(&wire, 1))));
}

// The bits of the ISR are the same; reading that clears it, so what it had is kept here until the
// driver acknowledges it.
std::uint32_t VirtioMmioDevice::interrupt_status() {
  std::byte isr{};
  MUST(device_->read(pci::kRegistersBar, pci::kIsrOffset, std::span(&isr, 1)));
  interrupts_ |= std::to_integer<std::uint32_t>(isr);
  return interrupts_;
}

}  // namespace airlock::mmio
