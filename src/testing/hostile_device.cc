// SPDX-License-Identifier: Apache-2.0
#include "testing/hostile_device.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <map>
#include <ranges>
#include <utility>
#include <vector>

#include "ring/chain_walk.h"
#include "spec/virtio_pci.h"

namespace airlock::testing {

namespace {

using Cfg = spec::VirtioPciCommonCfg;

constexpr std::byte kGarbage{0xa5};
constexpr std::uint64_t kGone = ~std::uint64_t{0};  // what nobody answers reads as
// Types of capabilities, and fields of them.
constexpr std::uint8_t kSwiotlb = spec::VIRTIO_PCI_CAP_SWIOTLB;
constexpr std::uint8_t kCommon = spec::VIRTIO_PCI_CAP_COMMON_CFG;
constexpr std::uint8_t kDevice = spec::VIRTIO_PCI_CAP_DEVICE_CFG;
constexpr std::uint8_t kNotify = spec::VIRTIO_PCI_CAP_NOTIFY_CFG;
constexpr std::size_t kLength = offsetof(spec::VirtioPciCap, length);
constexpr std::size_t kOffset = offsetof(spec::VirtioPciCap, offset);
// Neither offered by the disk nor of use to its driver.
constexpr std::uint64_t kOtherFeature = spec::feature(23);

// --- lies that stay ---------------------------------------------------------------------------

void generation_changes_for_ever(HostileDevice& device) {
  device.fake_registers([generation = 0U](std::uint64_t offset, std::uint64_t& value) mutable {
    if (offset == pci::kCommonOffset + offsetof(Cfg, config_generation)) value = generation++ & 1;
  });
}

// The first look at each register of the disk's configuration is honest.
void config_changes_after_a_look(HostileDevice& device) {
  std::vector<bool> seen(sizeof(spec::VirtioBlkConfig));
  device.fake_registers([seen](std::uint64_t offset, std::uint64_t& value) mutable {
    if (offset < pci::kDeviceConfigOffset || offset >= pci::kDeviceConfigOffset + seen.size())
      return;
    if (seen[offset - pci::kDeviceConfigOffset]) value = 0xffff'ffff;
    seen[offset - pci::kDeviceConfigOffset] = true;
  });
}

void config_is_another(HostileDevice& device) {
  device.fake_registers([](std::uint64_t offset, std::uint64_t& value) {
    if (offset == pci::kDeviceConfigOffset) value = 8;  // sectors
  });
}

void config_is_garbage(HostileDevice& device) {
  device.fake_registers([](std::uint64_t offset, std::uint64_t& value) {
    if (offset >= pci::kDeviceConfigOffset && offset < pci::kNotifyOffset) value = kGone;
  });
}

void physical_block_exp_is_64(HostileDevice& device) {
  device.fake_registers([](std::uint64_t offset, std::uint64_t& value) {
    constexpr std::uint64_t kExponent = offsetof(spec::VirtioBlkConfig, physical_block_exp);
    if (offset == pci::kDeviceConfigOffset + kExponent) value = 64;
  });
}

void registers_are_gone(HostileDevice& device) {
  device.fake_registers([](std::uint64_t /*offset*/, std::uint64_t& value) { value = kGone; });
}

void offer_is_everything(HostileDevice& device) {
  device.fake_register(offsetof(Cfg, device_feature), kGone);
}

// One register of the common configuration.
template <std::size_t kRegister, std::uint64_t kValue>
void register_says(HostileDevice& device) {
  device.fake_register(kRegister, kValue);
}

void offer_changes(HostileDevice& device) {
  device.fake_registers([looks = 0](std::uint64_t offset, std::uint64_t& value) mutable {
    constexpr int kOneLook = 2;  // registers of 32 bits
    if (offset == pci::kCommonOffset + offsetof(Cfg, device_feature) && ++looks > kOneLook) {
      value ^= kOtherFeature;
    }
  });
}

void offer_is_another(HostileDevice& device) {
  device.fake_registers([](std::uint64_t offset, std::uint64_t& value) {
    if (offset == pci::kCommonOffset + offsetof(Cfg, device_feature)) value |= kOtherFeature;
  });
}

void never_resets(HostileDevice& device) {
  device.fake_register(offsetof(Cfg, device_status), spec::VIRTIO_CONFIG_S_ACKNOWLEDGE);
}

// Bits that mean nothing, and none of those that were written.
void status_is_garbage(HostileDevice& device) {
  device.fake_register(offsetof(Cfg, device_status), 0x30);
}

void capabilities_loop(HostileDevice& device) {
  device.lies().on_config_read = [](std::uint16_t offset, std::span<std::byte> target) {
    if (offset >= 0x40 && target.size() >= 2) target[1] = std::byte{0x40};
  };
}

void set_field(std::span<std::byte> capability, std::size_t field, std::uint32_t value) {
  const Le32 wire(value);
  std::memcpy(capability.data() + field, &wire, sizeof wire);
}

// Of the capability of this type, one field.
template <std::uint8_t kType, std::size_t kField, std::uint32_t kValue>
void capability_says(HostileDevice& device) {
  device.fake_capability(
      kType, [](std::span<std::byte> capability) { set_field(capability, kField, kValue); });
}

template <std::uint8_t kBar>
void region_is_in_bar(HostileDevice& device) {
  device.fake_capability(spec::VIRTIO_PCI_CAP_SWIOTLB, [](std::span<std::byte> capability) {
    capability[offsetof(spec::VirtioPciCap, bar)] = std::byte{kBar};
  });
}

void region_wraps(HostileDevice& device) {
  device.fake_capability(spec::VIRTIO_PCI_CAP_SWIOTLB, [](std::span<std::byte> capability) {
    set_field(capability, offsetof(spec::VirtioPciCap, offset), 0xffff'f000);
    set_field(capability, offsetof(spec::VirtioPciCap, length), 0x10'1000);
  });
}

// Every other look at each of them is honest.
void capabilities_flicker(HostileDevice& device) {
  device.lies().on_config_read = [looks = std::map<std::uint16_t, unsigned>()](
                                     std::uint16_t offset, std::span<std::byte> target) mutable {
    constexpr std::size_t kFirst = offsetof(spec::VirtioPciCap, cfg_type);
    if (offset < 0x40 || target.size() <= kFirst || looks[offset]++ % 2 == 0) return;
    std::ranges::fill(target.subspan(kFirst), kGarbage);
  };
}

void capabilities_are_short(HostileDevice& device) {
  device.lies().on_config_read = [](std::uint16_t offset, std::span<std::byte> target) {
    if (offset >= 0x40 && target.size() >= 3) target[2] = std::byte{4};
  };
}

void region_moves(HostileDevice& device) {
  device.fake_capability(spec::VIRTIO_PCI_CAP_SWIOTLB, [](std::span<std::byte> capability) {
    set_field(capability, offsetof(spec::VirtioPciCap, offset), 4096);
    set_field(capability, offsetof(spec::VirtioPciCap, length), 65536);
  });
}

void interrupts_at_each_register(HostileDevice& device) {
  device.fake_registers(
      [&device](std::uint64_t /*offset*/, std::uint64_t& /*value*/) { device.interrupt(); });
  device.interrupt();
}

// --- lies of the moment -----------------------------------------------------------------------

// A status, and the configuration's interrupt, so that the driver looks.
void show_status(HostileDevice& device, std::uint8_t status) {
  device.fake_register(offsetof(Cfg, device_status), status);
  device.interrupt();
}

constexpr DeviceLie kOpeningLies[] = {
    {.name = "ConfigChangesAfterALook", .tell = config_changes_after_a_look},
    {.name = "GenerationChangesForEver", .tell = generation_changes_for_ever},
    {.name = "OfferChanges", .tell = offer_changes},
    {.name = "InterruptsBeforeDriverOk", .tell = interrupts_at_each_register},
    {.name = "NeverResets", .tell = never_resets},
    {.name = "StatusIsGarbage", .tell = status_is_garbage},
    {.name = "CapabilitiesLoop", .tell = capabilities_loop},
    {.name = "CapabilitiesFlicker", .tell = capabilities_flicker},
    {.name = "CapabilitiesAreShort", .tell = capabilities_are_short},
    {.name = "RegionExceedsItsBar", .tell = capability_says<kSwiotlb, kLength, 0x4000'0000>},
    {.name = "RegionWraps", .tell = region_wraps},
    {.name = "RegionIsEmpty", .tell = capability_says<kSwiotlb, kLength, 0>},
    {.name = "RegionIsTooSmall", .tell = capability_says<kSwiotlb, kLength, 8192>},
    {.name = "RegionIsUnaligned", .tell = capability_says<kSwiotlb, kOffset, 512>},
    {.name = "RegionIsInTheRegisters", .tell = region_is_in_bar<pci::kRegistersBar>},
    {.name = "RegionIsInNoBar", .tell = region_is_in_bar<5>},
    {.name = "CommonConfigIsTooShort", .tell = capability_says<kCommon, kLength, 16>},
    {.name = "DeviceConfigIsTooShort", .tell = capability_says<kDevice, kLength, 4>},
    {.name = "NotifyIsTooShort", .tell = capability_says<kNotify, kLength, 1>},
    {.name = "NotifyOffsetIsFfff", .tell = register_says<offsetof(Cfg, queue_notify_off), 0xffff>},
    {.name = "NumQueuesIsZero", .tell = register_says<offsetof(Cfg, num_queues), 0>},
    {.name = "NumQueuesIsFfff", .tell = register_says<offsetof(Cfg, num_queues), 0xffff>},
    {.name = "QueueSizeIsZero", .tell = register_says<offsetof(Cfg, queue_size), 0>},
    {.name = "QueueSizeIsFfff", .tell = register_says<offsetof(Cfg, queue_size), 0xffff>},
    {.name = "QueueSizeIsNoPowerOfTwo", .tell = register_says<offsetof(Cfg, queue_size), 63>},
    {.name = "ConfigIsGarbage", .tell = config_is_garbage},
    {.name = "PhysicalBlockExpIs64", .tell = physical_block_exp_is_64},
    {.name = "OfferIsEverything", .tell = offer_is_everything},
    {.name = "RegistersAreGone", .tell = registers_are_gone},
};

constexpr DeviceLie kRunningLies[] = {
    {.name = "InterruptStorm", .tell = [](HostileDevice& device) { device.interrupt(1000); }},
    {.name = "StatusIsGarbage", .tell = [](HostileDevice& device) { show_status(device, 0x30); }},
    {.name = "StatusIsNeedsReset",
     .tell = [](HostileDevice& device) { show_status(device, spec::VIRTIO_CONFIG_S_NEEDS_RESET); }},
    {.name = "StatusIsGone", .tell = [](HostileDevice& device) { show_status(device, 0xff); }},
    {.name = "RegistersAreGone",
     .tell =
         [](HostileDevice& device) {
           registers_are_gone(device);
           device.interrupt();
         }},
    {.name = "ConfigIsGarbage",
     .tell =
         [](HostileDevice& device) {
           config_is_garbage(device);
           device.interrupt();
         }},
    {.name = "GenerationChangesForEver",
     .tell =
         [](HostileDevice& device) {
           generation_changes_for_ever(device);
           device.interrupt();
         }},
    {.name = "RequestsScribbled",
     .tell = [](HostileDevice& device) { device.scribble_on_requests(); }},
    {.name = "FreeMemoryScribbled",
     .tell = [](HostileDevice& device) { device.scribble_on_free_memory(); }},
    {.name = "SuccessWithoutData",
     .tell = [](HostileDevice& device) { device.claim_success_in_reverse(); }},
};

constexpr DeviceLie kResetLies[] = {
    {.name = "InterruptsAfterReset", .tell = interrupts_at_each_register},
    {.name = "NeverResets", .tell = never_resets},
    {.name = "StatusIsGarbage", .tell = status_is_garbage},
    {.name = "CapabilitiesLoop", .tell = capabilities_loop},
    {.name = "RegionShrinks", .tell = capability_says<kSwiotlb, kLength, 65536>},
    {.name = "RegionMoves", .tell = region_moves},
    {.name = "OfferIsAnother", .tell = offer_is_another},
    {.name = "ConfigIsAnother", .tell = config_is_another},
    {.name = "GenerationChangesForEver", .tell = generation_changes_for_ever},
};

}  // namespace

HostileRing& HostileDevice::ring() {
  if (!ring_) {
    ring_ = HostileRing::create(place());
    if (from_the_ring_) {
      ring_->set_server([this](const HostileRing::Request& request) { return serve(request); });
    } else {
      ring_->set_honest([this](std::size_t count) { disk().serve(count); });
    }
  }
  return *ring_;
}

void HostileDevice::be_honest() {
  lies_ = {};
  ring_.reset();
  disk().held = false;
  disk().on_answer = {};
}

void HostileDevice::fake_register(std::size_t offset, std::uint64_t value) {
  fake_registers([offset, value](std::uint64_t from, std::uint64_t& read) {
    if (from == pci::kCommonOffset + offset) read = value;
  });
}

void HostileDevice::fake_registers(std::function<void(std::uint64_t, std::uint64_t&)> change) {
  lies_.on_read = [change = std::move(change)](const driver::Register& from, std::uint64_t& value) {
    if (from.bar == pci::kRegistersBar) change(from.offset, value);
  };
}

void HostileDevice::fake_capability(std::uint8_t type,
                                    std::function<void(std::span<std::byte>)> change) {
  lies_.on_config_read = [type, change = std::move(change)](std::uint16_t /*offset*/,
                                                            std::span<std::byte> target) {
    if (target.size() < sizeof(spec::VirtioPciCap)) return;
    if (target[offsetof(spec::VirtioPciCap, cfg_type)] == std::byte{type}) change(target);
  };
}

void HostileDevice::interrupt(int times) {
  pci::MsixVectors& vectors = device_.device().vectors();
  for (int i = 0; i < times; i++) {
    for (std::uint16_t vector = 0; vector < vectors.count(); vector++)
      vectors.fire(vector);
  }
}

void HostileDevice::scribble_on_requests() {
  std::vector<shm::SharedBytes> buffers;
  for (const HostileRing::Request& request : ring().open()) {
    for (const airlock_descriptor& buffer : request.buffers) {
      if ((buffer.flags & AIRLOCK_DESC_WRITE) != 0) continue;
      buffers.push_back(
          MUST(device_.window.region().slice(offset_of(buffer.address), buffer.length)));
    }
  }
  ring().answer(ring().open().size());
  for (const shm::SharedBytes& buffer : buffers)
    buffer.copy_in(0, std::vector(buffer.size(), kGarbage));
}

void HostileDevice::scribble_on_free_memory() {
  const shm::SharedBytes& region = device_.window.region();
  std::vector<bool> used(region.size());
  const auto keep = [&](std::uint64_t offset, std::uint64_t length) {
    std::fill_n(used.begin() + static_cast<std::ptrdiff_t>(offset), length, true);
  };
  const HostileRing::Place at = place();
  const ring::Layout layout(at.size, at.features.format);
  keep(std::to_underlying(at.areas.descriptors), layout.descriptors().bytes);
  keep(std::to_underlying(at.areas.driver), layout.driver().bytes);
  keep(std::to_underlying(at.areas.device), layout.device().bytes);
  for (const HostileRing::Request& request : ring().open()) {
    for (const airlock_descriptor& buffer : request.buffers)
      keep(offset_of(buffer.address), buffer.length);
    if (request.table.empty()) continue;
    const auto* const start = request.table.in_place().data();
    keep(static_cast<std::uint64_t>(start - region.in_place().data()), request.table.size());
  }
  for (std::uint64_t offset = 0; offset < region.size(); offset++) {
    if (!used[offset])
      region.store_relaxed<std::uint8_t>(offset, std::to_integer<std::uint8_t>(kGarbage));
  }
}

void HostileDevice::claim_success_in_reverse() {
  const std::deque<HostileRing::Request> all = ring().open();
  for (const HostileRing::Request& request : std::views::reverse(all)) {
    std::uint64_t status = 0;  // the last byte that it may write
    for (const airlock_descriptor& buffer : request.buffers) {
      if ((buffer.flags & AIRLOCK_DESC_WRITE) != 0) {
        status = offset_of(buffer.address) + buffer.length - 1;
      }
    }
    device_.window.region().store_relaxed<std::uint8_t>(status, spec::VIRTIO_BLK_S_OK);
    ring().use(request.id, request.writable_bytes);
  }
}

HostileRing::Place HostileDevice::place() {
  const pci::QueueSetup& setup = device_.disk.setup(0);
  const auto offset = [this](window::DriverAddress address) {
    return window::RegionOffset{offset_of(std::to_underlying(address))};
  };
  const auto features = ring::Features::from(device_.device().negotiated().features);
  const ring::QueueSize size = MUST(ring::QueueSize::from(setup.size, features.format));
  return {.region = device_.window.region(),
          .size = size,
          .areas = {.descriptors = offset(setup.descriptor_area),
                    .driver = offset(setup.driver_area),
                    .device = offset(setup.device_area)},
          .publisher = {.mode = device_.window.mode(), .region = device_.window.region_bus_base()},
          .features = features};
}

// By the ring's own copy of the request, checked as a device checks one: what a lie has changed in
// it is answered with nothing.
std::uint32_t HostileDevice::serve(const HostileRing::Request& request) {
  const ring::QueueSize size = MUST(ring::QueueSize::from(32768));
  if (request.buffers.empty() || request.buffers.size() > size.value()) return 0;
  ring::ChainWalk walk(size, {}, device_.window);
  ring::Chain chain;
  const auto walked = walk.walk(0, chain, [&](std::uint32_t index) {
    airlock_descriptor buffer = request.buffers[index];
    const bool more = index + 1 < request.buffers.size();
    buffer.flags = static_cast<std::uint16_t>((buffer.flags & AIRLOCK_DESC_WRITE) |
                                              (more ? AIRLOCK_DESC_NEXT : 0));
    buffer.next = static_cast<std::uint16_t>(index + 1);
    return buffer;
  });
  const bool whole = walked && chain.readable_bytes() >= sizeof(spec::VirtioBlkReqHeader) &&
                     chain.writable_bytes() > 0;
  return whole ? disk().handle(chain) : 0;
}

std::uint64_t HostileDevice::offset_of(std::uint64_t address) const {
  const bool bus = device_.window.mode() == window::AddressMode::kBus;
  return bus ? address - std::to_underlying(device_.window.region_bus_base()) : address;
}

std::span<const DeviceLie> opening_lies() {
  return kOpeningLies;
}

std::span<const DeviceLie> running_lies() {
  return kRunningLies;
}

std::span<const DeviceLie> reset_lies() {
  return kResetLies;
}

const DeviceLie& find_lie(std::span<const DeviceLie> lies, std::string_view name) {
  const auto found = std::ranges::find(lies, name, &DeviceLie::name);
  CHECK(found != lies.end());
  return *found;
}

}  // namespace airlock::testing
