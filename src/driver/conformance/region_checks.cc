// SPDX-License-Identifier: Apache-2.0
//
// What a device says of its region: REQUIREMENTS 1.1, 1.2, 1.4, 1.5 and 1.9.
#include <algorithm>
#include <bitset>

#include <fmt/core.h>

#include "core/range.h"
#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"

namespace airlock::driver::conformance {

namespace {

constexpr std::uint16_t kTypeGpu = 16;
constexpr std::uint16_t kTypeFs = 26;

std::vector<RawCapability> capabilities_of_type(const CheckContext& ctx, std::uint8_t type) {
  std::vector<RawCapability> found;
  std::ranges::copy_if(ctx.raw_capabilities(), std::back_inserter(found),
                       [&](const RawCapability& one) {
                         return one.id == spec::PCI_CAP_ID_VNDR && one.type == type;
                       });
  return found;
}

Finding no_region_capability() {
  return skipped("the device shows no VIRTIO_PCI_CAP_SWIOTLB");
}
Finding no_dmb() {
  return skipped("the device does not offer VIRTIO_F_DMB");
}

Result<Finding> check_region_capability(CheckContext& ctx) {
  const auto all = capabilities_of_type(ctx, spec::VIRTIO_PCI_CAP_SWIOTLB);
  if (all.empty()) return no_region_capability();
  for (const RawCapability& one : all) {
    if (one.length < sizeof(spec::VirtioPciCap)) {
      return failed(fmt::format("cap_len {}", one.length));
    }
    if (one.bar >= spec::PCI_STD_NUM_BARS) return failed(fmt::format("BAR {}", one.bar));
    if (one.bytes == 0) return failed("length 0");
  }
  return passed();
}

Result<Finding> check_region_bit(CheckContext& ctx) {
  if (capabilities_of_type(ctx, spec::VIRTIO_PCI_CAP_SWIOTLB).empty()) {
    return no_region_capability();
  }
  if (!ctx.offers(spec::VIRTIO_F_SWIOTLB)) return failed("VIRTIO_F_SWIOTLB is not offered");
  return passed();
}

Result<Finding> check_region_place(CheckContext& ctx) {
  const auto all = capabilities_of_type(ctx, spec::VIRTIO_PCI_CAP_SWIOTLB);
  if (all.empty()) return no_region_capability();
  for (const RawCapability& one : all) {
    const auto& bars = ctx.transport().bar_sizes();
    const std::uint64_t size = one.bar < bars.size() ? bars[one.bar] : 0;
    if (!airlock_range_within(one.offset, one.bytes, size)) {
      return failed(fmt::format("{:#x} bytes at {:#x} in BAR {} of {:#x}", one.bytes, one.offset,
                                one.bar, size));
    }
  }
  return passed();
}

Result<Finding> check_no_bit_without_region(CheckContext& ctx) {
  if (!ctx.offers(spec::VIRTIO_F_SWIOTLB)) return skipped("VIRTIO_F_SWIOTLB is not offered");
  return ctx.capabilities().swiotlb ? passed() : failed("the bit is offered without a region");
}

Result<Finding> check_modern(CheckContext& ctx) {
  const bool has_region = ctx.region_kind() != RegionKind::kNone;
  if (!has_region) return skipped("the device has no region");
  if (ctx.config_word(spec::PCI_DEVICE_ID, 2) < spec::VIRTIO_PCI_DEVICE_ID_BASE) {
    return failed("a transitional device id: its bit 27 is ANY_LAYOUT to legacy drivers");
  }
  return ctx.offers(spec::VIRTIO_F_VERSION_1) ? passed() : failed("without VIRTIO_F_VERSION_1");
}

Result<Finding> check_region_alignment(CheckContext& ctx) {
  const auto type = ctx.region_kind() == RegionKind::kDmb ? spec::VIRTIO_PCI_CAP_SHARED_MEMORY_CFG
                                                          : spec::VIRTIO_PCI_CAP_SWIOTLB;
  const auto all = capabilities_of_type(ctx, type);
  if (all.empty()) return skipped("the device has no region");
  for (const RawCapability& one : all) {
    if (!airlock_is_aligned(one.offset | one.bytes, RawQueue::kPage)) {
      return failed(fmt::format("{:#x} bytes at {:#x}", one.bytes, one.offset));
    }
  }
  return passed();
}

Result<Finding> check_region_size(CheckContext& ctx) {
  std::uint64_t needed = RawQueue::kPage;
  const std::uint16_t count = TRY(ctx.common().queue_count());
  for (std::uint16_t queue = 0; queue < count; ++queue) {
    TRY(ctx.common().select_queue(queue));
    const auto size = ring::QueueSize::from(TRY(ctx.common().queue_size()));
    if (size) needed += ring::Layout(*size).block_bytes();
  }
  if (ctx.region_bytes() < needed) {
    return failed(fmt::format("{:#x} bytes, the rings take {:#x}", ctx.region_bytes(), needed));
  }
  return passed(fmt::format("{:#x} bytes, the rings take {:#x}", ctx.region_bytes(), needed));
}

Result<Finding> check_region_stays(CheckContext& ctx) {
  for (int round = 0; round < 2; ++round) {
    TRY(ctx.reset());
    CheckContext::ConfigBytes now{};
    TRY(ctx.transport().read_config(0, now));
    for (const RawCapability& one : ctx.raw_capabilities()) {
      if (one.id != spec::PCI_CAP_ID_VNDR || one.type == spec::VIRTIO_PCI_CAP_PCI_CFG) continue;
      const auto length = std::min<std::size_t>(one.length, now.size() - one.position);
      const auto part = [&](const CheckContext::ConfigBytes& bytes) {
        return std::span(bytes).subspan(one.position, length);
      };
      if (!std::ranges::equal(part(now), part(ctx.config()))) {
        return failed(fmt::format("the capability at {:#x} changed", one.position));
      }
    }
  }
  return passed();
}

Result<Finding> check_unique_ids(CheckContext& ctx) {
  const auto all = capabilities_of_type(ctx, spec::VIRTIO_PCI_CAP_SHARED_MEMORY_CFG);
  if (all.empty()) return skipped("the device has no shared memory");
  std::bitset<256> seen;
  for (const RawCapability& one : all) {
    if (seen.test(one.shm_id)) return failed(fmt::format("id {} twice", one.shm_id));
    seen.set(one.shm_id);
  }
  return passed();
}

Result<Finding> check_shared_memory_place(CheckContext& ctx) {
  const auto all = capabilities_of_type(ctx, spec::VIRTIO_PCI_CAP_SHARED_MEMORY_CFG);
  if (all.empty()) return skipped("the device has no shared memory");
  for (const RawCapability& one : all) {
    const auto& bars = ctx.transport().bar_sizes();
    const std::uint64_t size = one.bar < bars.size() ? bars[one.bar] : 0;
    if (one.bytes == 0 || !airlock_range_within(one.offset, one.bytes, size)) {
      return failed(fmt::format("id {}: {:#x} bytes at {:#x} in BAR {} of {:#x}", one.shm_id,
                                one.bytes, one.offset, one.bar, size));
    }
  }
  return passed();
}

Result<Finding> check_dmb_has_memory(CheckContext& ctx) {
  if (!ctx.offers(spec::VIRTIO_F_DMB)) return no_dmb();
  return ctx.capabilities().shared_memory.empty() ? failed("there is no shared memory") : passed();
}

Result<Finding> check_dmb_companions(CheckContext& ctx) {
  if (!ctx.offers(spec::VIRTIO_F_DMB)) return no_dmb();
  if (!ctx.offers(spec::VIRTIO_F_ACCESS_PLATFORM)) return failed("without ACCESS_PLATFORM");
  return ctx.offers(spec::VIRTIO_F_VERSION_1) ? passed() : failed("without VERSION_1");
}

Result<Finding> check_dmb_id(CheckContext& ctx) {
  if (!ctx.offers(spec::VIRTIO_F_DMB)) return no_dmb();
  if (!ctx.common().has_dmb_shm_id()) return failed("the common configuration is too short");
  if (!TRY(ctx.negotiate(ctx.own_features()))) return failed("FEATURES_OK was withheld");
  const std::uint16_t id = TRY(ctx.common().dmb_shm_id());
  if (id > 255) return failed(fmt::format("dmb_shm_id {}", id));
  const auto all = capabilities_of_type(ctx, spec::VIRTIO_PCI_CAP_SHARED_MEMORY_CFG);
  const auto count = std::ranges::count(all, id, &RawCapability::shm_id);
  if (count != 1) return failed(fmt::format("{} regions have the id {}", count, id));
  return passed(fmt::format("id {}", id));
}

Result<Finding> check_dmb_id_is_free(CheckContext& ctx) {
  if (!ctx.offers(spec::VIRTIO_F_DMB) || !ctx.common().has_dmb_shm_id()) return no_dmb();
  if (!TRY(ctx.negotiate(ctx.own_features()))) return failed("FEATURES_OK was withheld");
  const std::uint16_t id = TRY(ctx.common().dmb_shm_id());
  const std::uint16_t type = ctx.device_type();
  // VIRTIO 1.3, 5.7.5 and 5.11.6.4: the only types that define one.
  const bool taken = (type == kTypeGpu && id == 1) || (type == kTypeFs && id == 0);
  return taken ? failed(fmt::format("id {} is the device type's", id)) : passed();
}

constexpr Check kRegionChecks[] = {
    {"PCI-0", "VIRTIO_PCI_CAP_SWIOTLB: length, BAR, bytes", Needs::kConfigSpace,
     check_region_capability},
    {"PCI-D1", "the capability comes with VIRTIO_F_SWIOTLB", Needs::kRegisters, check_region_bit},
    {"PCI-D2", "the region lies in its memory BAR", Needs::kConfigSpace, check_region_place},
    {"GEN-DV2", "VIRTIO_F_SWIOTLB comes with a region", Needs::kRegisters,
     check_no_bit_without_region},
    {"DEF-2/modern", "a device with a region is modern", Needs::kRegisters, check_modern},
    {"DEF-4/alignment", "the region starts and ends at multiples of 4096", Needs::kRegisters,
     check_region_alignment},
    {"DEF-4/size", "the region has room for the rings", Needs::kRegion, check_region_size},
    {"DMB-D10", "capabilities stay the same across resets", Needs::kRegisters, check_region_stays},
    {"BASE-8", "each shared memory region has an id of its own", Needs::kConfigSpace,
     check_unique_ids},
    {"VIRTIO-4.1.4.7.1", "shared memory lies in its memory BAR", Needs::kConfigSpace,
     check_shared_memory_place},
    {"DMB-D1", "VIRTIO_F_DMB comes with shared memory", Needs::kRegisters, check_dmb_has_memory},
    {"DMB-D2", "VIRTIO_F_DMB comes with ACCESS_PLATFORM and VERSION_1", Needs::kRegisters,
     check_dmb_companions},
    {"DMB-D4", "dmb_shm_id names exactly one region", Needs::kRegisters, check_dmb_id},
    {"DMB-D5", "the id is none of the device type's own", Needs::kRegisters, check_dmb_id_is_free},
};

}  // namespace

std::span<const Check> region_checks() {
  return kRegionChecks;
}

}  // namespace airlock::driver::conformance
