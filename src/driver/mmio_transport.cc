// SPDX-License-Identifier: Apache-2.0
#include "driver/mmio_transport.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/checked.h"
#include "core/range.h"
#include "spec/pci.h"
#include "spec/virtio_mmio.h"
#include "spec/virtio_pci.h"

namespace airlock::driver {

namespace {

using Cfg = spec::VirtioPciCommonCfg;

// Where the structures of a PCI device would be. Each queue has a place of its own to notify.
constexpr std::uint8_t kRegisters = 0;
constexpr std::uint8_t kPool = 2;
constexpr std::uint32_t kCommon = 0x0000;
constexpr std::uint32_t kIsr = 0x1000;
constexpr std::uint32_t kNotify = 0x2000;
constexpr std::uint32_t kConfig = 0x4000;
constexpr std::uint32_t kNotifyMultiplier = 4;
constexpr std::uint32_t kQueuesMax = (kConfig - kNotify) / kNotifyMultiplier;
constexpr std::uint32_t kRegisterBytes = 4;

/// The 32-bit registers that both have, of the queue selected or of all. Nothing where there is no
/// such.
std::optional<std::uint32_t> same_register(std::uint64_t offset) {
  switch (offset) {
    case offsetof(Cfg, device_feature_select):
      return spec::VIRTIO_MMIO_DEVICE_FEATURES_SEL;
    case offsetof(Cfg, driver_feature_select):
      return spec::VIRTIO_MMIO_DRIVER_FEATURES_SEL;
    case offsetof(Cfg, driver_feature):
      return spec::VIRTIO_MMIO_DRIVER_FEATURES;
    case offsetof(Cfg, device_status):
      return spec::VIRTIO_MMIO_STATUS;
    case offsetof(Cfg, queue_enable):
      return spec::VIRTIO_MMIO_QUEUE_READY;
    case offsetof(Cfg, queue_reset):
      return spec::VIRTIO_MMIO_QUEUE_RESET;
    case offsetof(Cfg, queue_desc):
      return spec::VIRTIO_MMIO_QUEUE_DESC_LOW;
    case offsetof(Cfg, queue_desc) + kRegisterBytes:
      return spec::VIRTIO_MMIO_QUEUE_DESC_HIGH;
    case offsetof(Cfg, queue_driver):
      return spec::VIRTIO_MMIO_QUEUE_DRIVER_LOW;
    case offsetof(Cfg, queue_driver) + kRegisterBytes:
      return spec::VIRTIO_MMIO_QUEUE_DRIVER_HIGH;
    case offsetof(Cfg, queue_device):
      return spec::VIRTIO_MMIO_QUEUE_DEVICE_LOW;
    case offsetof(Cfg, queue_device) + kRegisterBytes:
      return spec::VIRTIO_MMIO_QUEUE_DEVICE_HIGH;
    default:
      return std::nullopt;
  }
}

spec::VirtioPciCap structure(std::uint8_t type, std::uint8_t bar, std::uint32_t offset,
                             std::uint64_t length) {
  spec::VirtioPciCap cap{};
  cap.cap_vndr = spec::PCI_CAP_ID_VNDR;
  cap.cap_len = sizeof cap;
  cap.cfg_type = type;
  cap.bar = bar;
  cap.offset.set(offset);
  cap.length.set(saturate<std::uint32_t>(length));
  return cap;
}

std::unexpected<Error> out_of_range(const Register& where) {
  return fail({.code = Errc::kOutOfRange,
               .detail = std::to_underlying(where.width),
               .address = where.offset});
}

}  // namespace

Result<std::unique_ptr<MmioTransport>> MmioTransport::create(std::unique_ptr<MmioBus> bus,
                                                             DmaPool pool) {
  if (bus->size() < spec::VIRTIO_MMIO_CONFIG) {
    return fail({.code = Errc::kTooSmall, .address = spec::VIRTIO_MMIO_CONFIG});
  }
  std::unique_ptr<MmioTransport> made(new MmioTransport(std::move(bus), std::move(pool)));
  // VIRTIO 1.3, 4.2.2.1: nothing else is looked at before these.
  const std::uint32_t magic = TRY(made->get(spec::VIRTIO_MMIO_MAGIC_VALUE));
  if (magic != spec::VIRTIO_MMIO_MAGIC) return fail({.code = Errc::kNotVirtio, .detail = magic});
  const std::uint32_t version = TRY(made->get(spec::VIRTIO_MMIO_VERSION));
  if (version != spec::VIRTIO_MMIO_VERSION_2) {
    return fail({.code = Errc::kUnsupported, .detail = version});
  }
  const std::uint32_t type = TRY(made->get(spec::VIRTIO_MMIO_DEVICE_ID));
  constexpr std::uint32_t kTypeMax =
      spec::VIRTIO_PCI_DEVICE_ID_LAST - spec::VIRTIO_PCI_DEVICE_ID_BASE;
  if (type == 0 || type > kTypeMax) return fail({.code = Errc::kNotVirtio, .detail = type});
  made->describe(static_cast<std::uint16_t>(type));
  return made;
}

MmioTransport::MmioTransport(std::unique_ptr<MmioBus> bus, DmaPool pool)
    : bus_(std::move(bus)), pool_(std::move(pool)) {
  bar_sizes_[kRegisters] = kConfig + (bus_->size() - spec::VIRTIO_MMIO_CONFIG);
  bar_sizes_[kPool] = pool_.bytes;
}

// A configuration space that says what there is.
void MmioTransport::describe(std::uint16_t device_type) {
  std::uint8_t at = spec::PCI_CAPABILITY_LIST;
  std::uint8_t next = 0x40;  // behind the header
  const auto put = [this](std::size_t offset, const auto& value) {
    std::memcpy(config_.data() + offset, &value, sizeof value);
  };
  const auto add = [&](auto cap) {
    put(at, next);
    put(next, cap);
    at = static_cast<std::uint8_t>(next + offsetof(spec::VirtioPciCap, cap_next));
    next = static_cast<std::uint8_t>(next + sizeof cap);
  };
  put(spec::PCI_VENDOR_ID, Le16(spec::VIRTIO_PCI_VENDOR_ID));
  put(spec::PCI_VENDOR_ID + 2,
      Le16(static_cast<std::uint16_t>(spec::VIRTIO_PCI_DEVICE_ID_BASE + device_type)));
  put(spec::PCI_STATUS, Le16(spec::PCI_STATUS_CAP_LIST));
  add(structure(spec::VIRTIO_PCI_CAP_COMMON_CFG, kRegisters, kCommon, sizeof(Cfg)));
  spec::VirtioPciNotifyCap notify{};
  notify.cap = structure(spec::VIRTIO_PCI_CAP_NOTIFY_CFG, kRegisters, kNotify, kConfig - kNotify);
  notify.cap.cap_len = sizeof notify;
  notify.notify_off_multiplier.set(kNotifyMultiplier);
  add(notify);
  add(structure(spec::VIRTIO_PCI_CAP_ISR_CFG, kRegisters, kIsr, 1));
  if (bus_->size() > spec::VIRTIO_MMIO_CONFIG) {
    add(structure(spec::VIRTIO_PCI_CAP_DEVICE_CFG, kRegisters, kConfig,
                  bus_->size() - spec::VIRTIO_MMIO_CONFIG));
  }
  add(structure(spec::VIRTIO_PCI_CAP_SWIOTLB, kPool, 0, pool_.bytes));
}

Result<void> MmioTransport::read_config(std::uint16_t offset, std::span<std::byte> target) {
  if (!airlock_range_within(offset, target.size(), config_.size())) {
    return fail({.code = Errc::kOutOfRange, .address = offset});
  }
  std::ranges::copy(std::span(config_).subspan(offset, target.size()), target.begin());
  return {};
}

Result<void> MmioTransport::write_config(std::uint16_t offset, std::span<const std::byte> source) {
  if (!airlock_range_within(offset, source.size(), config_.size())) {
    return fail({.code = Errc::kOutOfRange, .address = offset});
  }
  return {};  // there is nothing that a driver may change
}

Result<std::uint32_t> MmioTransport::get(std::uint32_t offset) {
  return static_cast<std::uint32_t>(TRY(bus_->read(offset, Width::k4)));
}

Result<void> MmioTransport::set(std::uint32_t offset, std::uint64_t value) {
  return bus_->write(offset, Width::k4, value);
}

Result<std::uint64_t> MmioTransport::read(const Register& from) {
  const std::uint64_t bytes = std::to_underlying(from.width);
  if (from.bar != kRegisters || !airlock_range_within(from.offset, bytes, bar_sizes_[kRegisters])) {
    return out_of_range(from);
  }
  if (!airlock_is_aligned(from.offset, bytes)) {
    return fail({.code = Errc::kNotAligned, .address = from.offset});
  }
  if (from.offset >= kConfig) {
    return bus_->read(from.offset - kConfig + spec::VIRTIO_MMIO_CONFIG, from.width);
  }
  if (from.offset == kIsr) {
    // Reading an ISR clears it, and here that is a write.
    const std::uint32_t status = TRY(get(spec::VIRTIO_MMIO_INTERRUPT_STATUS));
    TRY(set(spec::VIRTIO_MMIO_INTERRUPT_ACK, status));
    return std::uint64_t{status};
  }
  if (from.offset >= kIsr) return std::uint64_t{0};
  return read_common(from.offset);
}

Result<void> MmioTransport::write(const Register& to, std::uint64_t value) {
  const std::uint64_t bytes = std::to_underlying(to.width);
  if (to.bar != kRegisters || !airlock_range_within(to.offset, bytes, bar_sizes_[kRegisters])) {
    return out_of_range(to);
  }
  if (!airlock_is_aligned(to.offset, bytes)) {
    return fail({.code = Errc::kNotAligned, .address = to.offset});
  }
  if (to.offset >= kConfig) {
    return bus_->write(to.offset - kConfig + spec::VIRTIO_MMIO_CONFIG, to.width, value);
  }
  // The queue's number, or that and where it is: both are said as MMIO wants it.
  if (to.offset >= kNotify) return set(spec::VIRTIO_MMIO_QUEUE_NOTIFY, value);
  if (to.offset >= kIsr) return {};
  return write_common(to.offset, value);
}

Result<std::uint64_t> MmioTransport::read_common(std::uint64_t offset) {
  switch (offset) {
    case offsetof(Cfg, device_feature):
      return std::uint64_t {
        TRY(get(spec::VIRTIO_MMIO_DEVICE_FEATURES))
      };
    case offsetof(Cfg, config_generation):
      return std::uint64_t {
        TRY(get(spec::VIRTIO_MMIO_CONFIG_GENERATION))
        &0xff
      };
    case offsetof(Cfg, num_queues):
      return count_queues();
    case offsetof(Cfg, queue_select):
      return std::uint64_t{queue_};
    case offsetof(Cfg, queue_size):
      return queue_size();
    case offsetof(Cfg, config_msix_vector):
    case offsetof(Cfg, queue_msix_vector):
      return std::uint64_t{spec::VIRTIO_MSI_NO_VECTOR};
    case offsetof(Cfg, queue_notify_off):
      return std::uint64_t{queue_};
    default:
      break;
  }
  const auto same = same_register(offset);
  if (!same) return std::uint64_t{0};
  return std::uint64_t {
    TRY(get(*same))
  };
}

Result<void> MmioTransport::write_common(std::uint64_t offset, std::uint64_t value) {
  switch (offset) {
    case offsetof(Cfg, queue_select):
      queue_ = static_cast<std::uint16_t>(value);
      return set(spec::VIRTIO_MMIO_QUEUE_SEL, value);
    case offsetof(Cfg, queue_size):
      sizes_[queue_] = static_cast<std::uint16_t>(value);
      return set(spec::VIRTIO_MMIO_QUEUE_SIZE, value);
    case offsetof(Cfg, device_status):
      if (value == 0) sizes_.clear();
      break;
    case offsetof(Cfg, queue_reset):
      sizes_.erase(queue_);
      break;
    default:
      break;
  }
  const auto same = same_register(offset);
  return same ? set(*same, value) : Result<void>();
}

// No register says how many: they are numbered from 0, and the first without a size is none.
Result<std::uint64_t> MmioTransport::count_queues() {
  std::uint64_t count = 0;
  for (; count < kQueuesMax; count++) {
    TRY(set(spec::VIRTIO_MMIO_QUEUE_SEL, count));
    if (TRY(get(spec::VIRTIO_MMIO_QUEUE_SIZE_MAX)) == 0) break;
  }
  TRY(set(spec::VIRTIO_MMIO_QUEUE_SEL, queue_));
  return count;
}

// What was written, else the most there is; a size that no ring has stays one.
Result<std::uint64_t> MmioTransport::queue_size() {
  if (const auto written = sizes_.find(queue_); written != sizes_.end()) {
    return std::uint64_t{written->second};
  }
  return std::uint64_t {
    saturate<std::uint16_t>(TRY(get(spec::VIRTIO_MMIO_QUEUE_SIZE_MAX)))
  };
}

Result<MappedRegion> MmioTransport::map(const pci::BarRange& range) {
  if (range.bar != kPool) return fail(Errc::kNoRegion);
  if (!airlock_range_within(range.offset, range.length, pool_.bytes)) {
    return fail({.code = Errc::kOutOfRange, .address = range.offset});
  }
  MappedRegion mapped;
  mapped.mapping =
      TRY(shm::Mapping::map(pool_.memory, {.offset = range.offset, .length = range.length}));
  mapped.bus_address = window::BusAddress{std::to_underlying(pool_.base) + range.offset};
  return mapped;
}

Result<void> MmioTransport::enable_interrupts(const pci::MsixLocation& /*msix*/,
                                              std::uint16_t /*count*/) {
  return fail(Errc::kUnsupported);
}

Result<void> MmioTransport::reset() {
  sizes_.clear();
  return set(spec::VIRTIO_MMIO_STATUS, 0);
}

}  // namespace airlock::driver
