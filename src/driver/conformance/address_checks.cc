// SPDX-License-Identifier: Apache-2.0
//
// Addresses outside the region, in registers and in descriptors: REQUIREMENTS DEF-5 where they are
// bus addresses, DMB-D7 where they are offsets.
#include <fmt/core.h>

#include "driver/conformance/by_region.h"
#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"
#include "driver/conformance/raw_disk.h"
#include "driver/conformance/violation.h"

namespace airlock::driver::conformance {

namespace {

constexpr std::uint64_t kTop = ~std::uint64_t{0};

using Area = window::DriverAddress ring::QueueAreas::*;

/// Enables queue 0 with one area at `address` and goes on as a driver would.
Result<Finding> queue_with_area_at(CheckContext& ctx, Area area, std::uint64_t address) {
  TRY(ctx.prepare());
  ring::QueueAreas areas = ctx.queue().areas();
  areas.*area = window::DriverAddress{address};
  ctx.queue().remember();
  TRY(ctx.enable_queue(areas));
  TRY(ctx.add_status(spec::VIRTIO_CONFIG_S_DRIVER_OK));
  TRY(ctx.notify());
  return expect_violation(ctx);
}

/// The three areas, one after the other, at `address`.
Result<Finding> each_area_at(CheckContext& ctx, std::uint64_t address) {
  constexpr std::pair<Area, const char*> kAreas[] = {
      {&ring::QueueAreas::descriptors, "descriptor area"},
      {&ring::QueueAreas::driver, "driver area"},
      {&ring::QueueAreas::device, "device area"}};
  for (const auto& [area, name] : kAreas) {
    Finding finding = TRY(queue_with_area_at(ctx, area, address));
    if (finding.verdict == Verdict::kPass) continue;
    finding.why = fmt::format("{} at {:#x}: {}", name, address, finding.why);
    return finding;
  }
  return passed();
}

Result<Finding> check_queue_outside(CheckContext& ctx) {
  return each_area_at(ctx, ctx.region_end());
}

Result<Finding> check_queue_below(CheckContext& ctx) {
  if (ctx.region_start() < RawQueue::kPage) return skipped("nothing is below the region");
  return each_area_at(ctx, ctx.region_start() - RawQueue::kPage);
}

Result<Finding> check_queue_straddles(CheckContext& ctx) {
  constexpr std::uint64_t kInside = 16;  // aligned for each area, and less than the smallest
  if (ctx.queue().size().value() < 8) return skipped("the queue is too small to straddle");
  return each_area_at(ctx, ctx.region_end() - kInside);
}

Result<Finding> check_queue_wraps(CheckContext& ctx) {
  return each_area_at(ctx, kTop - 15);
}

Result<Finding> check_offset_zero(CheckContext& ctx) {
  return each_area_at(ctx, 0);
}

/// Each area off by the least that makes it misaligned. VIRTIO 1.3, 2.7.
Result<Finding> check_misaligned(CheckContext& ctx) {
  const ring::QueueAreas good = ctx.queue().areas();
  const std::pair<Area, std::uint64_t> off[] = {{&ring::QueueAreas::descriptors, 8},
                                                {&ring::QueueAreas::driver, 1},
                                                {&ring::QueueAreas::device, 2}};
  for (const auto& [area, by] : off) {
    const std::uint64_t address = std::to_underlying(good.*area) + by;
    Finding finding = TRY(queue_with_area_at(ctx, area, address));
    if (finding.verdict == Verdict::kPass) continue;
    finding.why = fmt::format("area at {:#x}: {}", address, finding.why);
    return finding;
  }
  return passed();
}

/// One chain of a read whose part for the data is this descriptor.
Result<Finding> buffer_at(CheckContext& ctx, std::uint64_t address, std::uint32_t length) {
  TRY(ctx.bring_up());
  put_disk_request(ctx, {.target_bytes = spec::VIRTIO_BLK_SECTOR_BYTES});
  ctx.queue().put_descriptor(1, {.address = address,
                                 .length = length,
                                 .flags = spec::VIRTQ_DESC_F_WRITE | spec::VIRTQ_DESC_F_NEXT,
                                 .next = 2});
  ctx.queue().make_available(0);
  ctx.queue().remember();
  TRY(ctx.notify());
  Finding finding = TRY(expect_violation(ctx));
  if (finding.verdict == Verdict::kFail) {
    finding.why = fmt::format("{:#x} bytes at {:#x}: {}", length, address, finding.why);
  }
  return finding;
}

Result<Finding> check_buffer_outside(CheckContext& ctx) {
  return buffer_at(ctx, ctx.region_end(), spec::VIRTIO_BLK_SECTOR_BYTES);
}

Result<Finding> check_buffer_below(CheckContext& ctx) {
  if (ctx.region_start() < RawQueue::kPage) return skipped("nothing is below the region");
  return buffer_at(ctx, ctx.region_start() - 16, spec::VIRTIO_BLK_SECTOR_BYTES);
}

Result<Finding> check_buffer_straddles(CheckContext& ctx) {
  return buffer_at(ctx, ctx.region_end() - 256, spec::VIRTIO_BLK_SECTOR_BYTES);
}

Result<Finding> check_buffer_wraps(CheckContext& ctx) {
  return buffer_at(ctx, kTop - 255, spec::VIRTIO_BLK_SECTOR_BYTES);
}

Result<Finding> check_buffer_too_long(CheckContext& ctx) {
  if (ctx.region_bytes() > 0xffff'f000) return skipped("the region is as long as any buffer");
  return buffer_at(ctx, ctx.queue().data_address(kDiskDataAt), 0xffff'f000);
}

Result<Finding> check_buffer_at_zero(CheckContext& ctx) {
  return buffer_at(ctx, 0, spec::VIRTIO_BLK_SECTOR_BYTES);
}

/// A header outside: what the device reads.
Result<Finding> check_header_outside(CheckContext& ctx) {
  TRY(ctx.bring_up());
  put_disk_request(ctx, {.target_bytes = spec::VIRTIO_BLK_SECTOR_BYTES});
  ctx.queue().put_descriptor(0, {.address = ctx.region_end(),
                                 .length = sizeof(spec::VirtioBlkReqHeader),
                                 .flags = spec::VIRTQ_DESC_F_NEXT,
                                 .next = 1});
  ctx.queue().make_available(0);
  ctx.queue().remember();
  TRY(ctx.notify());
  return expect_violation(ctx);
}

/// Rings and buffers in the region, and addressed as the feature says: that is served.
Result<Finding> check_inside(CheckContext& ctx) {
  TRY(ctx.bring_up());
  return read_first_sector(ctx);
}

/// Without the feature the region can be used all the same, by a device that goes on.
Result<Finding> check_hint(CheckContext& ctx) {
  if (!ctx.capabilities().swiotlb || ctx.region_kind() == RegionKind::kDmb) {
    return skipped("the device shows no VIRTIO_PCI_CAP_SWIOTLB");
  }
  if (!TRY(ctx.negotiate(ctx.own_features() & ~ctx.region_feature()))) {
    return skipped("the device requires the feature");
  }
  ctx.queue().clear();
  TRY(ctx.enable_queue(ctx.queue().areas()));
  TRY(ctx.add_status(spec::VIRTIO_CONFIG_S_DRIVER_OK));
  return read_first_sector(ctx);
}

constexpr Check kAddressChecks[] = {
    {"GEN-0", "rings and buffers at bus addresses in the region are served", Needs::kDisk,
     kByBus<check_inside>},
    {"DMB-D6", "rings and buffers at offsets in the region are served", Needs::kDisk,
     kByOffset<check_inside>},
    {"PCI-DR1", "the region serves a driver that declined the feature too", Needs::kDisk,
     check_hint},
    {"DEF-5/queue-outside", "each area of a queue beyond the region", Needs::kRegion,
     kByBus<check_queue_outside>},
    {"DEF-5/queue-below", "each area of a queue below the region", Needs::kRegion,
     kByBus<check_queue_below>},
    {"DEF-5/queue-straddles", "each area of a queue across the region's end", Needs::kRegion,
     kByBus<check_queue_straddles>},
    {"DEF-5/queue-wraps", "each area of a queue at the end of 64 bits", Needs::kRegion,
     kByBus<check_queue_wraps>},
    {"DEF-5/buffer-outside", "a buffer beyond the region", Needs::kDisk,
     kByBus<check_buffer_outside>},
    {"DEF-5/buffer-below", "a buffer that starts below the region", Needs::kDisk,
     kByBus<check_buffer_below>},
    {"DEF-5/buffer-straddles", "a buffer across the region's end", Needs::kDisk,
     kByBus<check_buffer_straddles>},
    {"DEF-5/buffer-wraps", "a buffer that wraps 64 bits", Needs::kDisk, kByBus<check_buffer_wraps>},
    {"DEF-5/buffer-too-long", "a buffer longer than the region", Needs::kDisk,
     kByBus<check_buffer_too_long>},
    {"DEF-5/header-outside", "a header beyond the region", Needs::kDisk,
     kByBus<check_header_outside>},
    {"DMB-D7/queue-outside", "each area of a queue beyond the region", Needs::kRegion,
     kByOffset<check_queue_outside>},
    {"DMB-D7/queue-straddles", "each area of a queue across the region's end", Needs::kRegion,
     kByOffset<check_queue_straddles>},
    {"DMB-D7/queue-wraps", "each area of a queue at the end of 64 bits", Needs::kRegion,
     kByOffset<check_queue_wraps>},
    {"DMB-D7/queue-at-zero", "each area of a queue at offset 0", Needs::kRegion,
     kByOffset<check_offset_zero>},
    {"DMB-D7/buffer-outside", "a buffer beyond the region", Needs::kDisk,
     kByOffset<check_buffer_outside>},
    {"DMB-D7/buffer-straddles", "a buffer across the region's end", Needs::kDisk,
     kByOffset<check_buffer_straddles>},
    {"DMB-D7/buffer-wraps", "a buffer that wraps 64 bits", Needs::kDisk,
     kByOffset<check_buffer_wraps>},
    {"DMB-D7/buffer-too-long", "a buffer longer than the region", Needs::kDisk,
     kByOffset<check_buffer_too_long>},
    {"DMB-D7/buffer-at-zero", "a buffer at offset 0", Needs::kDisk,
     kByOffset<check_buffer_at_zero>},
    {"DMB-D7/header-outside", "a header beyond the region", Needs::kDisk,
     kByOffset<check_header_outside>},
    {"VIRTIO-2.7/alignment", "a misaligned area of a queue", Needs::kRegion, check_misaligned},
};

}  // namespace

std::span<const Check> address_checks() {
  return kAddressChecks;
}

}  // namespace airlock::driver::conformance
