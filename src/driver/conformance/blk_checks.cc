// SPDX-License-Identifier: Apache-2.0
//
// A disk's answers to requests that change nothing on it: VIRTIO 1.3, 5.2.6.
#include <algorithm>

#include <fmt/core.h>

#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"
#include "driver/conformance/raw_disk.h"

namespace airlock::driver::conformance {

namespace {

constexpr std::uint32_t kBlkSector = spec::VIRTIO_BLK_SECTOR_BYTES;
constexpr std::uint32_t kNoSuchType = 0x7eee'0003;

Result<std::uint64_t> sectors_of(CheckContext& ctx) {
  constexpr std::size_t kCapacity = offsetof(spec::VirtioBlkConfig, capacity);
  const std::uint64_t low = TRY(ctx.device_config(kCapacity, Width::k4));
  const std::uint64_t high = TRY(ctx.device_config(kCapacity + 4, Width::k4));
  return low | high << 32;
}

/// One request to a device just brought up, that must end with this status.
Result<Finding> answers_with(CheckContext& ctx, const DiskRequest& request, std::uint8_t wanted) {
  TRY(ctx.bring_up());
  const DiskAnswer answer = TRY(run_disk_request(ctx, request));
  if (answer.status == wanted) return passed();
  return failed(fmt::format("type {:#x}, sector {:#x}: status {}, not {}", request.type,
                            request.sector, answer.status, wanted));
}

Result<Finding> check_get_id(CheckContext& ctx) {
  TRY(ctx.bring_up());
  const DiskAnswer answer = TRY(run_disk_request(
      ctx, {.type = spec::VIRTIO_BLK_T_GET_ID, .target_bytes = spec::VIRTIO_BLK_ID_BYTES}));
  if (answer.status == spec::VIRTIO_BLK_S_UNSUPP) return passed("UNSUPP");
  if (answer.status != spec::VIRTIO_BLK_S_OK)
    return failed(fmt::format("status {}", answer.status));
  // Padded with zeros: what follows the first one is none of its business.
  const auto end = std::ranges::find(answer.target, std::byte{0});
  if (!std::all_of(end, answer.target.end(), [](std::byte b) { return b == std::byte{0}; })) {
    return failed("the id is not padded with zeros");
  }
  return passed();
}

Result<Finding> check_read(CheckContext& ctx) {
  if (TRY(sectors_of(ctx)) == 0) return skipped("the disk is empty");
  TRY(ctx.bring_up());
  const DiskRequest request{.target_bytes = kBlkSector};
  const DiskAnswer first = TRY(run_disk_request(ctx, request));
  const DiskAnswer second = TRY(run_disk_request(ctx, request));
  if (first.status != spec::VIRTIO_BLK_S_OK) return failed(fmt::format("status {}", first.status));
  return first.target == second.target ? passed() : failed("two reads differ");
}

Result<Finding> check_last_sector(CheckContext& ctx) {
  const std::uint64_t sectors = TRY(sectors_of(ctx));
  if (sectors == 0) return skipped("the disk is empty");
  return answers_with(ctx, {.sector = sectors - 1, .target_bytes = kBlkSector},
                      spec::VIRTIO_BLK_S_OK);
}

Result<Finding> check_beyond(CheckContext& ctx) {
  const std::uint64_t sectors = TRY(sectors_of(ctx));
  for (const std::uint64_t sector :
       {sectors, sectors + 1, std::uint64_t{1} << 55, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    Finding finding = TRY(answers_with(ctx, {.sector = sector, .target_bytes = kBlkSector},
                                       spec::VIRTIO_BLK_S_IOERR));
    if (finding.verdict != Verdict::kPass) return finding;
  }
  return passed();
}

Result<Finding> check_across_the_end(CheckContext& ctx) {
  const std::uint64_t sectors = TRY(sectors_of(ctx));
  if (sectors == 0) return skipped("the disk is empty");
  return answers_with(ctx, {.sector = sectors - 1, .target_bytes = 2 * kBlkSector},
                      spec::VIRTIO_BLK_S_IOERR);
}

Result<Finding> check_unknown_type(CheckContext& ctx) {
  for (const std::uint32_t type : {kNoSuchType, 0xffff'ffffU}) {
    Finding finding = TRY(
        answers_with(ctx, {.type = type, .target_bytes = kBlkSector}, spec::VIRTIO_BLK_S_UNSUPP));
    if (finding.verdict != Verdict::kPass) return finding;
  }
  return passed();
}

Result<Finding> check_flush(CheckContext& ctx) {
  if (!ctx.offers(spec::VIRTIO_BLK_F_FLUSH)) return skipped("FLUSH is not offered");
  return answers_with(ctx, {.type = spec::VIRTIO_BLK_T_FLUSH}, spec::VIRTIO_BLK_S_OK);
}

/// An error is no end: the next request is served.
Result<Finding> check_goes_on(CheckContext& ctx) {
  TRY(ctx.bring_up());
  (void)TRY(run_disk_request(ctx, {.sector = ~std::uint64_t{0}, .target_bytes = kBlkSector}));
  (void)TRY(run_disk_request(ctx, {.type = kNoSuchType, .target_bytes = kBlkSector}));
  return read_first_sector(ctx);
}

/// A chain that is no request: refused by status or by DEVICE_NEEDS_RESET, and either way the
/// device lives.
Result<Finding> refuses_chain(CheckContext& ctx, std::span<const Part> parts) {
  TRY(ctx.bring_up());
  RawQueue& queue = ctx.queue();
  queue.data().put(kDiskHeaderAt, spec::VirtioBlkReqHeader{});
  queue.put_chain(0, parts);
  queue.make_available(0);
  TRY(ctx.notify());
  const auto used = ctx.wait_used(1);
  if (!used && used.error().code != Errc::kNeedsReset) return fail(used.error());
  const bool ok = used && parts.back().writable &&
                  queue.data().load_relaxed<std::uint8_t>(kDiskStatusAt) == spec::VIRTIO_BLK_S_OK;
  if (ok) return failed("it answers with OK");
  return works_after_reset(ctx);
}

Result<Finding> check_short_header(CheckContext& ctx) {
  constexpr Part kParts[] = {{.offset = kDiskHeaderAt, .length = 8},
                             {.offset = kDiskStatusAt, .length = 1, .writable = true}};
  return refuses_chain(ctx, kParts);
}

Result<Finding> check_no_header(CheckContext& ctx) {
  constexpr Part kParts[] = {{.offset = kDiskStatusAt, .length = 1, .writable = true}};
  return refuses_chain(ctx, kParts);
}

Result<Finding> check_no_status(CheckContext& ctx) {
  constexpr Part kParts[] = {{.offset = kDiskHeaderAt, .length = 16}};
  return refuses_chain(ctx, kParts);
}

constexpr Check kBlkChecks[] = {
    {"VIRTIO-5.2.6/get-id", "disk: GET_ID gives 20 bytes, or UNSUPP", Needs::kDisk, check_get_id},
    {"VIRTIO-5.2.6/read", "disk: a sector reads the same twice", Needs::kDisk, check_read},
    {"VIRTIO-5.2.6/last-sector", "disk: the last sector can be read", Needs::kDisk,
     check_last_sector},
    {"VIRTIO-5.2.6/beyond", "disk: a sector that is not there gives IOERR", Needs::kDisk,
     check_beyond},
    {"VIRTIO-5.2.6/across-the-end", "disk: a read across the end gives IOERR", Needs::kDisk,
     check_across_the_end},
    {"VIRTIO-5.2.6/unknown-type", "disk: a type that is not known gives UNSUPP", Needs::kDisk,
     check_unknown_type},
    {"VIRTIO-5.2.6/flush", "disk: a flush is done", Needs::kDisk, check_flush},
    {"VIRTIO-5.2.6/goes-on", "disk: after an error the next request is served", Needs::kDisk,
     check_goes_on},
    {"VIRTIO-5.2.6/short-header", "disk: a header cut short is refused", Needs::kDisk,
     check_short_header},
    {"VIRTIO-5.2.6/no-header", "disk: a chain without a header is refused", Needs::kDisk,
     check_no_header},
    {"VIRTIO-5.2.6/no-status", "disk: a chain without room for a status is refused", Needs::kDisk,
     check_no_status},
};

}  // namespace

std::span<const Check> blk_checks() {
  return kBlkChecks;
}

}  // namespace airlock::driver::conformance
