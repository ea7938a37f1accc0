// SPDX-License-Identifier: Apache-2.0
//
// Indirect descriptor tables, where VIRTIO_F_INDIRECT_DESC is offered: VIRTIO 1.3, 2.7.5.3.
#include <optional>

#include <fmt/core.h>

#include "driver/conformance/by_region.h"
#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"
#include "driver/conformance/raw_disk.h"
#include "driver/conformance/violation.h"

namespace airlock::driver::conformance {

namespace {

constexpr std::uint64_t kTableAt = 3 * RawQueue::kPage;
constexpr std::uint32_t kTableEntries = 3;
constexpr std::uint32_t kEntryBytes = sizeof(spec::VirtqDesc);

constexpr std::uint16_t kNext = spec::VIRTQ_DESC_F_NEXT;
constexpr std::uint16_t kWrite = spec::VIRTQ_DESC_F_WRITE;
constexpr std::uint16_t kIndirect = spec::VIRTQ_DESC_F_INDIRECT;

/// An entry of the table: part `offset` of the data area.
void put_table_entry(RawQueue& queue, std::uint32_t index, const Part& part, std::uint16_t flags) {
  queue.data().put(kTableAt + std::uint64_t{index} * kEntryBytes,
                   spec::VirtqDesc{.addr = Le64(queue.data_address(part.offset)),
                                   .len = Le32(part.length),
                                   .flags = Le16(flags),
                                   .next = Le16(static_cast<std::uint16_t>(index + 1))});
}

/// Descriptor 0 refers to the table.
void put_table_reference(RawQueue& queue, std::uint16_t flags = kIndirect,
                         std::uint32_t bytes = kTableEntries * kEntryBytes) {
  queue.put_descriptor(
      0, {.address = queue.data_address(kTableAt), .length = bytes, .flags = flags, .next = 1});
}

constexpr Part kHeaderPart{.offset = kDiskHeaderAt, .length = sizeof(spec::VirtioBlkReqHeader)};
constexpr Part kDataPart{.offset = kDiskDataAt, .length = spec::VIRTIO_BLK_SECTOR_BYTES};
constexpr Part kStatusPart{.offset = kDiskStatusAt, .length = 1};

/// A read of sector 0 that is all in the table, to be made available as head 0.
void put_read_in_table(RawQueue& queue) {
  queue.data().put(kDiskHeaderAt, spec::VirtioBlkReqHeader{});
  put_table_entry(queue, 0, kHeaderPart, kNext);
  put_table_entry(queue, 1, kDataPart, kWrite | kNext);
  put_table_entry(queue, 2, kStatusPart, kWrite);
  put_table_reference(queue);
}

Result<std::optional<Finding>> bring_up_indirect(CheckContext& ctx) {
  if (!ctx.offers(spec::VIRTIO_F_INDIRECT_DESC)) return skipped("INDIRECT_DESC is not offered");
  ctx.accept_also(spec::feature(spec::VIRTIO_F_INDIRECT_DESC));
  TRY(ctx.bring_up());
  return std::optional<Finding>();
}

/// Serves what `build` put at head 0.
template <class F>
Result<Finding> serves_table(CheckContext& ctx, const F& build) {
  const auto obstacle = TRY(bring_up_indirect(ctx));
  if (obstacle) return *obstacle;
  RawQueue& queue = ctx.queue();
  put_read_in_table(queue);
  build(queue);
  queue.make_available(0);
  TRY(ctx.notify());
  TRY(ctx.wait_used(1));
  const auto status = queue.data().load_relaxed<std::uint8_t>(kDiskStatusAt);
  if (status != spec::VIRTIO_BLK_S_OK) return failed(fmt::format("status {}", status));
  return queue.used(0).id == 0 ? passed() : failed(fmt::format("id {}", queue.used(0).id));
}

/// Refuses what `spoil` made of a good table.
template <class F>
Result<Finding> refuses_table(CheckContext& ctx, const F& spoil) {
  const auto obstacle = TRY(bring_up_indirect(ctx));
  if (obstacle) return *obstacle;
  RawQueue& queue = ctx.queue();
  put_read_in_table(queue);
  spoil(queue);
  queue.make_available(0);
  queue.remember();
  TRY(ctx.notify());
  return expect_violation(ctx);
}

Result<Finding> check_table(CheckContext& ctx) {
  return serves_table(ctx, [](RawQueue& /*queue*/) {});
}

Result<Finding> check_table_write_flag(CheckContext& ctx) {
  return serves_table(ctx, [](RawQueue& queue) { put_table_reference(queue, kIndirect | kWrite); });
}

/// The header in the ring, the rest in a table that the chain ends with.
Result<Finding> check_table_after_chain(CheckContext& ctx) {
  return serves_table(ctx, [](RawQueue& queue) {
    put_table_entry(queue, 0, kDataPart, kWrite | kNext);
    put_table_entry(queue, 1, kStatusPart, kWrite);
    queue.put_descriptor(0, {.address = queue.data_address(kDiskHeaderAt),
                             .length = sizeof(spec::VirtioBlkReqHeader),
                             .flags = kNext,
                             .next = 1});
    queue.put_descriptor(1, {.address = queue.data_address(kTableAt),
                             .length = 2 * kEntryBytes,
                             .flags = kIndirect,
                             .next = 0});
  });
}

Result<Finding> check_table_in_table(CheckContext& ctx) {
  return refuses_table(ctx, [](RawQueue& queue) {
    put_table_entry(queue, 1, {.offset = kTableAt, .length = kEntryBytes}, kIndirect);
  });
}

Result<Finding> check_table_with_next(CheckContext& ctx) {
  return refuses_table(ctx, [](RawQueue& queue) { put_table_reference(queue, kIndirect | kNext); });
}

Result<Finding> check_table_odd_length(CheckContext& ctx) {
  return refuses_table(ctx, [](RawQueue& queue) {
    put_table_reference(queue, kIndirect, kTableEntries * kEntryBytes - 1);
  });
}

Result<Finding> check_table_loop(CheckContext& ctx) {
  return refuses_table(ctx, [](RawQueue& queue) {
    queue.data().put(kTableAt + kEntryBytes,
                     spec::VirtqDesc{.addr = Le64(queue.data_address(kDiskDataAt)),
                                     .len = Le32(16),
                                     .flags = Le16(kWrite | kNext),
                                     .next = Le16(1)});
  });
}

Result<Finding> check_table_next_beyond(CheckContext& ctx) {
  return refuses_table(
      ctx, [](RawQueue& queue) { put_table_entry(queue, 2, kStatusPart, kWrite | kNext); });
}

Result<Finding> check_table_outside(CheckContext& ctx) {
  const std::uint64_t end = ctx.region_end();
  return refuses_table(ctx, [end](RawQueue& queue) {
    queue.put_descriptor(0, {.address = end - kEntryBytes,
                             .length = kTableEntries * kEntryBytes,
                             .flags = kIndirect,
                             .next = 0});
  });
}

Result<Finding> check_buffer_of_table_outside(CheckContext& ctx) {
  const std::uint64_t end = ctx.region_end();
  return refuses_table(ctx, [end](RawQueue& queue) {
    queue.data().put(kTableAt + kEntryBytes,
                     spec::VirtqDesc{.addr = Le64(end - 256),
                                     .len = Le32(spec::VIRTIO_BLK_SECTOR_BYTES),
                                     .flags = Le16(kWrite | kNext),
                                     .next = Le16(2)});
  });
}

constexpr Check kIndirectChecks[] = {
    {"VIRTIO-2.7.5.3.2/table", "a request in an indirect table is served", Needs::kDisk,
     check_table},
    {"VIRTIO-2.7.5.3.2/write-flag", "the write flag of a table's descriptor is ignored",
     Needs::kDisk, check_table_write_flag},
    {"VIRTIO-2.7.5.3.2/after-chain", "a table may end a chain", Needs::kDisk,
     check_table_after_chain},
    {"VIRTIO-2.1.2/table-in-table", "a table in a table", Needs::kDisk, check_table_in_table},
    {"VIRTIO-2.1.2/table-next", "a chain that goes on after its table", Needs::kDisk,
     check_table_with_next},
    {"VIRTIO-2.1.2/table-length", "a table that is no whole descriptors", Needs::kDisk,
     check_table_odd_length},
    {"VIRTIO-2.1.2/table-loop", "a table that loops", Needs::kDisk, check_table_loop},
    {"VIRTIO-2.1.2/table-beyond", "a next beyond its table", Needs::kDisk, check_table_next_beyond},
    {"DEF-5/table-outside", "a table across the region's end", Needs::kDisk,
     kByBus<check_table_outside>},
    {"DEF-5/table-buffer", "a buffer of a table across the region's end", Needs::kDisk,
     kByBus<check_buffer_of_table_outside>},
    {"DMB-D7/table-outside", "a table across the region's end", Needs::kDisk,
     kByOffset<check_table_outside>},
    {"DMB-D7/table-buffer", "a buffer of a table across the region's end", Needs::kDisk,
     kByOffset<check_buffer_of_table_outside>},
};

}  // namespace

std::span<const Check> indirect_checks() {
  return kIndirectChecks;
}

}  // namespace airlock::driver::conformance
