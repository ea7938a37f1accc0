// SPDX-License-Identifier: Apache-2.0
//
// Configuration space and the capabilities, as a device shows them before anything is negotiated.
#include <algorithm>
#include <optional>

#include <fmt/core.h>

#include "core/range.h"
#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"

namespace airlock::driver::conformance {

namespace {

constexpr std::uint32_t kModernSubsystemMin = 0x40;
constexpr std::uint32_t kInterruptPinMax = 4;

/// What VIRTIO 1.3, 4.1.4 says of one cfg_type.
struct CapabilityShape {
  std::uint8_t type;
  const char* name;
  std::size_t length_min;   // of the capability
  std::uint64_t bytes_min;  // of the structure; 0: it has no place of its own
};
constexpr CapabilityShape kShapes[] = {
    {.type = spec::VIRTIO_PCI_CAP_COMMON_CFG,
     .name = "common configuration",
     .length_min = sizeof(spec::VirtioPciCap),
     .bytes_min = spec::VIRTIO_PCI_COMMON_CFG_MIN},
    {.type = spec::VIRTIO_PCI_CAP_NOTIFY_CFG,
     .name = "notification",
     .length_min = sizeof(spec::VirtioPciNotifyCap),
     .bytes_min = 2},
    {.type = spec::VIRTIO_PCI_CAP_ISR_CFG,
     .name = "ISR",
     .length_min = sizeof(spec::VirtioPciCap),
     .bytes_min = 1},
    {.type = spec::VIRTIO_PCI_CAP_DEVICE_CFG,
     .name = "device configuration",
     .length_min = sizeof(spec::VirtioPciCap),
     .bytes_min = 1},
    {.type = spec::VIRTIO_PCI_CAP_PCI_CFG,
     .name = "PCI configuration access",
     .length_min = sizeof(spec::VirtioPciCfgCap),
     .bytes_min = 0},
    {.type = spec::VIRTIO_PCI_CAP_SHARED_MEMORY_CFG,
     .name = "shared memory",
     .length_min = sizeof(spec::VirtioPciCap64),
     .bytes_min = 1},
    {.type = spec::VIRTIO_PCI_CAP_SWIOTLB,
     .name = "SWIOTLB",
     .length_min = sizeof(spec::VirtioPciCap),
     .bytes_min = 1},
};

const CapabilityShape* shape_of(const RawCapability& one) {
  if (one.id != spec::PCI_CAP_ID_VNDR) return nullptr;
  const auto* const found = std::ranges::find(kShapes, one.type, &CapabilityShape::type);
  return found == std::end(kShapes) ? nullptr : found;
}

const RawCapability* first_capability(const CheckContext& ctx, std::uint8_t type) {
  const auto found = std::ranges::find_if(ctx.raw_capabilities(), [&](const RawCapability& one) {
    return one.id == spec::PCI_CAP_ID_VNDR && one.type == type;
  });
  return found == ctx.raw_capabilities().end() ? nullptr : &*found;
}

Result<Finding> check_header(CheckContext& ctx) {
  const std::uint32_t type = ctx.config_word(spec::PCI_HEADER_TYPE, 1) & 0x7f;
  if (type != 0) return failed(fmt::format("header type {}", type));
  if (ctx.config_word(spec::PCI_STATUS, 2) == 0xffff) return failed("it reads as ones");
  return passed();
}

Result<Finding> check_list(CheckContext& ctx) {
  if (!ctx.list_is_sound()) return failed("the list loops, or leaves configuration space");
  if (ctx.raw_capabilities().empty()) return failed("there is no capability");
  return passed(fmt::format("{} capabilities", ctx.raw_capabilities().size()));
}

Result<Finding> check_interrupt_pin(CheckContext& ctx) {
  const std::uint32_t pin = ctx.config_word(spec::PCI_INTERRUPT_PIN, 1);
  if (pin > kInterruptPinMax) return failed(fmt::format("interrupt pin {}", pin));
  if (pin == 0 && !ctx.capabilities().msix) return failed("neither an INTx pin nor MSI-X");
  return passed(pin == 0 ? "MSI-X alone" : "");
}

Result<Finding> check_header_is_fixed(CheckContext& ctx) {
  for (const std::uint8_t offset :
       {spec::PCI_VENDOR_ID, spec::PCI_DEVICE_ID, spec::PCI_CAPABILITY_LIST}) {
    const unsigned bytes = offset == spec::PCI_CAPABILITY_LIST ? 1 : 2;
    const Le16 other(static_cast<std::uint16_t>(~ctx.config_word(offset, bytes)));
    TRY(ctx.transport().write_config(offset, std::as_bytes(std::span(&other, 1)).first(bytes)));
    Le16 now;
    TRY(ctx.transport().read_config(offset,
                                    std::as_writable_bytes(std::span(&now, 1)).first(bytes)));
    if (now.get() != ctx.config_word(offset, bytes)) {
      return failed(fmt::format("the field at {:#x} changed to {:#x}", offset, now.get()));
    }
  }
  return passed();
}

Result<Finding> check_ids(CheckContext& ctx) {
  const std::uint32_t vendor = ctx.config_word(spec::PCI_VENDOR_ID, 2);
  const std::uint32_t device = ctx.config_word(spec::PCI_DEVICE_ID, 2);
  if (ctx.device_type() == 0) return failed(fmt::format("{:04x}:{:04x}", vendor, device));
  return passed(fmt::format("device type {}", ctx.device_type()));
}

Result<Finding> check_revision(CheckContext& ctx) {
  const std::uint32_t revision = ctx.config_word(spec::PCI_REVISION_ID, 1);
  if (ctx.config_word(spec::PCI_DEVICE_ID, 2) < spec::VIRTIO_PCI_DEVICE_ID_BASE) {
    return revision == 0 ? passed("transitional")
                         : failed(fmt::format("transitional, with revision {}", revision));
  }
  if (revision < spec::VIRTIO_PCI_REVISION_MODERN) return failed("revision 0");
  const std::uint32_t subsystem = ctx.config_word(spec::PCI_SUBSYSTEM_ID, 2);
  if (subsystem < kModernSubsystemMin) return failed(fmt::format("subsystem {:#x}", subsystem));
  return passed();
}

Result<Finding> check_lengths(CheckContext& ctx) {
  for (const RawCapability& one : ctx.raw_capabilities()) {
    const CapabilityShape* shape = shape_of(one);
    if (shape == nullptr) continue;
    if (one.length < shape->length_min ||
        !airlock_range_within(one.position, one.length, spec::PCI_CFG_SPACE_SIZE)) {
      return failed(fmt::format("{}: cap_len {} at {:#x}", shape->name, one.length, one.position));
    }
  }
  return passed();
}

Result<Finding> check_places(CheckContext& ctx) {
  for (const RawCapability& one : ctx.raw_capabilities()) {
    const CapabilityShape* shape = shape_of(one);
    if (shape == nullptr || shape->bytes_min == 0) continue;
    const auto& bars = ctx.transport().bar_sizes();
    if (one.bar >= bars.size()) return failed(fmt::format("{}: BAR {}", shape->name, one.bar));
    if (one.bytes < shape->bytes_min ||
        !airlock_range_within(one.offset, one.bytes, bars[one.bar])) {
      return failed(fmt::format("{}: {:#x} bytes at {:#x} in BAR {} of {:#x}", shape->name,
                                one.bytes, one.offset, one.bar, bars[one.bar]));
    }
  }
  return passed();
}

Result<Finding> check_fields_are_fixed(CheckContext& ctx) {
  const RawCapability* common = first_capability(ctx, spec::VIRTIO_PCI_CAP_COMMON_CFG);
  if (common == nullptr) return failed("no common configuration capability");
  std::array<std::byte, sizeof(spec::VirtioPciCap)> before{};
  TRY(ctx.transport().read_config(common->position, before));
  auto other = before;
  std::ranges::transform(other, other.begin(), [](std::byte b) { return ~b; });
  constexpr std::size_t kBar = offsetof(spec::VirtioPciCap, bar);
  TRY(ctx.transport().write_config(static_cast<std::uint16_t>(common->position + kBar),
                                   std::span(other).subspan(kBar)));
  std::array<std::byte, sizeof(spec::VirtioPciCap)> after{};
  TRY(ctx.transport().read_config(common->position, after));
  return after == before ? passed() : failed("a write changed the capability");
}

Finding present_and_aligned(CheckContext& ctx, std::uint8_t type, std::uint64_t alignment) {
  const RawCapability* one = first_capability(ctx, type);
  if (one == nullptr) return failed("there is no such capability");
  if (!airlock_is_aligned(one->offset, alignment)) {
    return failed(fmt::format("offset {:#x} is not a multiple of {}", one->offset, alignment));
  }
  return passed();
}

Result<Finding> check_common_capability(CheckContext& ctx) {
  return present_and_aligned(ctx, spec::VIRTIO_PCI_CAP_COMMON_CFG, 4);
}

Result<Finding> check_notify_capability(CheckContext& ctx) {
  const RawCapability* one = first_capability(ctx, spec::VIRTIO_PCI_CAP_NOTIFY_CFG);
  if (one == nullptr) return failed("there is no such capability");
  const bool with_data = ctx.offers(spec::VIRTIO_F_NOTIFICATION_DATA);
  const std::uint32_t least = with_data ? 4 : 2;
  if (!airlock_is_aligned(one->offset, least)) {
    return failed(fmt::format("offset {:#x} is not a multiple of {}", one->offset, least));
  }
  constexpr std::size_t kMultiplier = offsetof(spec::VirtioPciNotifyCap, notify_off_multiplier);
  const std::uint32_t multiplier =
      ctx.config_word(static_cast<std::uint8_t>(one->position + kMultiplier), 4);
  if (multiplier != 0 && (!airlock_is_power_of_two(multiplier) || multiplier < least)) {
    return failed(fmt::format("multiplier {}", multiplier));
  }
  return passed(fmt::format("multiplier {}", multiplier));
}

Result<Finding> check_isr_capability(CheckContext& ctx) {
  return present_and_aligned(ctx, spec::VIRTIO_PCI_CAP_ISR_CFG, 1);
}

Result<Finding> check_device_capability(CheckContext& ctx) {
  constexpr std::uint16_t kWithConfiguration[] = {spec::VIRTIO_ID_NET, spec::VIRTIO_ID_BLOCK,
                                                  spec::VIRTIO_ID_VSOCK};
  const bool wanted =
      std::ranges::find(kWithConfiguration, ctx.device_type()) != std::end(kWithConfiguration);
  if (first_capability(ctx, spec::VIRTIO_PCI_CAP_DEVICE_CFG) == nullptr && !wanted) {
    return skipped("the device shows no configuration of its own");
  }
  return present_and_aligned(ctx, spec::VIRTIO_PCI_CAP_DEVICE_CFG, 4);
}

Result<Finding> check_vendor_capability(CheckContext& ctx) {
  const RawCapability* one = first_capability(ctx, spec::VIRTIO_PCI_CAP_VENDOR_CFG);
  if (one == nullptr) return skipped("there is none");
  const std::uint32_t vendor = ctx.config_word(static_cast<std::uint8_t>(one->position + 4), 2);
  if (vendor == spec::VIRTIO_PCI_VENDOR_ID) return failed("its vendor_id is virtio's");
  if (one->length % 4 != 0) return failed(fmt::format("{} bytes", one->length));
  return passed();
}

Result<Finding> check_msix_shape(CheckContext& ctx) {
  const auto found =
      std::ranges::find(ctx.raw_capabilities(), spec::PCI_CAP_ID_MSIX, &RawCapability::id);
  if (found == ctx.raw_capabilities().end()) return skipped("the device has no MSI-X");
  const auto word = [&](unsigned offset, unsigned bytes) {
    return ctx.config_word(static_cast<std::uint8_t>(found->position + offset), bytes);
  };
  using Cap = spec::PciMsixCap;
  const std::uint32_t control = word(offsetof(Cap, message_control), 2);
  const std::uint32_t vectors = (control & spec::PCI_MSIX_FLAGS_QSIZE) + 1;
  const std::uint32_t table = word(offsetof(Cap, table), 4);
  const std::uint32_t pba = word(offsetof(Cap, pba), 4);
  const std::uint64_t table_bytes = vectors * sizeof(spec::PciMsixEntry);
  const std::uint64_t pba_bytes = (std::uint64_t{vectors} + 63) / 64 * 8;
  const auto& bars = ctx.transport().bar_sizes();
  const auto inside = [&](std::uint32_t place, std::uint64_t bytes) {
    const std::uint32_t bar = place & spec::PCI_MSIX_BIR_MASK;
    return bar < bars.size() &&
           airlock_range_within(place & ~spec::PCI_MSIX_BIR_MASK, bytes, bars[bar]);
  };
  if (!inside(table, table_bytes)) return failed(fmt::format("table at {:#x}", table));
  if (!inside(pba, pba_bytes)) return failed(fmt::format("pending bits at {:#x}", pba));
  const bool same_bar = ((table ^ pba) & spec::PCI_MSIX_BIR_MASK) == 0;
  if (same_bar && airlock_ranges_overlap(table & ~spec::PCI_MSIX_BIR_MASK, table_bytes,
                                         pba & ~spec::PCI_MSIX_BIR_MASK, pba_bytes)) {
    return failed("table and pending bits overlap");
  }
  return passed(fmt::format("{} vectors", vectors));
}

constexpr Check kPciChecks[] = {
    {"VIRTIO-4.1.1/header", "configuration space has a type 0 header", Needs::kConfigSpace,
     check_header},
    {"VIRTIO-4.1.1/capability-list", "the capability list ends", Needs::kConfigSpace, check_list},
    {"VIRTIO-4.1.1/interrupts", "an INTx pin A to D, or MSI-X", Needs::kConfigSpace,
     check_interrupt_pin},
    {"VIRTIO-4.1.1/fixed", "ids and the list's start can't be written", Needs::kConfigSpace,
     check_header_is_fixed},
    {"VIRTIO-4.1.1/msix", "MSI-X table and pending bits lie in their BARs", Needs::kConfigSpace,
     check_msix_shape},
    {"VIRTIO-4.1.2.1/ids", "vendor 1af4 and the device id of a type", Needs::kConfigSpace,
     check_ids},
    {"VIRTIO-4.1.2.1/revision", "revision and subsystem tell modern from transitional",
     Needs::kConfigSpace, check_revision},
    {"VIRTIO-4.1.4.2", "cap_len counts the whole capability", Needs::kConfigSpace, check_lengths},
    {"BASE-1", "each structure of virtio lies in a memory BAR", Needs::kConfigSpace, check_places},
    {"VIRTIO-4.1.4/fixed", "a virtio capability can't be written", Needs::kConfigSpace,
     check_fields_are_fixed},
    {"VIRTIO-4.1.4.3.1/capability", "a common configuration, 4-byte aligned", Needs::kConfigSpace,
     check_common_capability},
    {"VIRTIO-4.1.4.4.1/capability", "a notification structure, its alignment and multiplier",
     Needs::kConfigSpace, check_notify_capability},
    {"VIRTIO-4.1.4.5.1/capability", "an ISR structure", Needs::kConfigSpace, check_isr_capability},
    {"VIRTIO-4.1.4.6.1", "the device configuration, 4-byte aligned", Needs::kConfigSpace,
     check_device_capability},
    {"VIRTIO-4.1.4.8.1", "a vendor's capability names another vendor than virtio",
     Needs::kConfigSpace, check_vendor_capability},
};

}  // namespace

std::span<const Check> pci_checks() {
  return kPciChecks;
}

}  // namespace airlock::driver::conformance
