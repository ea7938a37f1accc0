// SPDX-License-Identifier: Apache-2.0
#include "driver/conformance/raw_disk.h"

#include <fmt/core.h>

#include "base/check.h"
#include "core/range.h"

namespace airlock::driver::conformance {

void put_disk_request(CheckContext& ctx, const DiskRequest& request) {
  RawQueue& queue = ctx.queue();
  CHECK(airlock_range_within(request.source.size(), request.target_bytes,
                             RawQueue::kDataBytes - kDiskDataAt));
  const spec::VirtioBlkReqHeader header{
      .type = Le32(request.type), .reserved = {}, .sector = Le64(request.sector)};
  queue.data().put(kDiskHeaderAt, header);
  queue.data().copy_in(kDiskDataAt, request.source);
  std::vector<Part> parts{{.offset = kDiskHeaderAt, .length = sizeof header}};
  const auto source_bytes = static_cast<std::uint32_t>(request.source.size());
  if (source_bytes != 0) parts.push_back({.offset = kDiskDataAt, .length = source_bytes});
  if (request.target_bytes != 0) {
    parts.push_back(
        {.offset = kDiskDataAt + source_bytes, .length = request.target_bytes, .writable = true});
  }
  parts.push_back({.offset = kDiskStatusAt, .length = 1, .writable = true});
  queue.put_chain(request.head, parts);
}

void offer_disk_request(CheckContext& ctx, const DiskRequest& request) {
  put_disk_request(ctx, request);
  ctx.queue().make_available(request.head);
}

Result<DiskAnswer> run_disk_request(CheckContext& ctx, const DiskRequest& request) {
  RawQueue& queue = ctx.queue();
  offer_disk_request(ctx, request);
  TRY(ctx.notify());
  TRY(ctx.wait_used(queue.avail_index()));
  DiskAnswer answer;
  answer.used = queue.used(static_cast<std::uint16_t>(queue.avail_index() - 1));
  answer.status = queue.data().load_relaxed<std::uint8_t>(kDiskStatusAt);
  answer.target.resize(request.target_bytes);
  queue.data().copy_out(kDiskDataAt + request.source.size(), answer.target);
  return answer;
}

Result<Finding> read_first_sector(CheckContext& ctx) {
  const DiskAnswer answer =
      TRY(run_disk_request(ctx, {.target_bytes = spec::VIRTIO_BLK_SECTOR_BYTES}));
  if (answer.status == spec::VIRTIO_BLK_S_OK) return passed();
  return failed(fmt::format("reading sector 0 gives status {}", answer.status));
}

Result<Finding> works_after_reset(CheckContext& ctx) {
  TRY(ctx.bring_up());
  const std::uint8_t status = TRY(ctx.common().status());
  constexpr std::uint8_t kRunning =
      spec::VIRTIO_CONFIG_S_ACKNOWLEDGE | spec::VIRTIO_CONFIG_S_DRIVER |
      spec::VIRTIO_CONFIG_S_FEATURES_OK | spec::VIRTIO_CONFIG_S_DRIVER_OK;
  if (status != kRunning)
    return failed(fmt::format("brought up again its status is {:#x}", status));
  if (ctx.device_type() != spec::VIRTIO_ID_BLOCK) {
    return passed("without a request: the device is no disk");
  }
  const auto read = read_first_sector(ctx);
  if (!read) return failed("after a reset: " + describe(read.error()));
  return read->verdict == Verdict::kPass ? passed() : failed("after a reset: " + read->why);
}

}  // namespace airlock::driver::conformance
