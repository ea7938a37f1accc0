// SPDX-License-Identifier: Apache-2.0
//
// What a device does to the used ring, and when it interrupts: VIRTIO 1.3, 2.7.4 to 2.7.10.
#include <algorithm>
#include <bitset>

#include <fmt/core.h>

#include "core/range.h"
#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"
#include "driver/conformance/raw_disk.h"
#include "ring/barrier.h"

namespace airlock::driver::conformance {

namespace {

constexpr std::uint16_t kQueueVectorNumber = 1;
constexpr std::uint32_t kUsedSector = spec::VIRTIO_BLK_SECTOR_BYTES;
constexpr std::uint32_t kReadWritable = kUsedSector + 1;  // a sector and its status
constexpr std::uint16_t kDescriptorsOfRead = 3;

DiskRequest read_at_head(std::uint16_t head) {
  return {.target_bytes = kUsedSector, .head = head};
}

Result<Finding> check_id(CheckContext& ctx) {
  TRY(ctx.bring_up());
  const auto last = static_cast<std::uint16_t>(ctx.queue().size().mask());
  for (const std::uint16_t head : {std::uint16_t{0}, std::uint16_t{1}, last}) {
    const DiskAnswer answer = TRY(run_disk_request(ctx, read_at_head(head)));
    if (answer.used.id != head) {
      return failed(fmt::format("head {} came back as id {}", head, answer.used.id));
    }
  }
  return passed();
}

Result<Finding> check_length(CheckContext& ctx) {
  TRY(ctx.bring_up());
  const DiskAnswer answer = TRY(run_disk_request(ctx, read_at_head(0)));
  const std::uint32_t length = answer.used.length;
  if (length > kReadWritable) {
    return failed(fmt::format("{} bytes of {} writable ones", length, kReadWritable));
  }
  return passed(fmt::format("{} of {} bytes", length, kReadWritable));
}

/// More requests than the ring has entries, one after the other.
Result<Finding> check_wrap(CheckContext& ctx) {
  TRY(ctx.bring_up());
  const std::uint32_t size = ctx.queue().size().value();
  for (std::uint32_t round = 0; round < 2 * size + 3; ++round) {
    const auto head = static_cast<std::uint16_t>(round * kDescriptorsOfRead % size);
    const DiskAnswer answer = TRY(run_disk_request(ctx, read_at_head(head)));
    if (answer.used.id != head || answer.status != spec::VIRTIO_BLK_S_OK) {
      return failed(fmt::format("request {}: head {} as id {}, status {}", round, head,
                                answer.used.id, answer.status));
    }
  }
  return passed();
}

/// As many as fit at once: each comes back, once.
Result<Finding> check_batch(CheckContext& ctx) {
  TRY(ctx.bring_up());
  RawQueue& queue = ctx.queue();
  const std::uint32_t count = queue.size().value() / kDescriptorsOfRead;
  if (count < 2) return skipped("the queue is too small for two requests");
  for (std::uint32_t i = 0; i < count; ++i) {
    offer_disk_request(ctx, read_at_head(static_cast<std::uint16_t>(i * kDescriptorsOfRead)));
  }
  TRY(ctx.notify());
  TRY(ctx.wait_used(static_cast<std::uint16_t>(count)));
  std::bitset<RawQueue::kSlotsMax> seen;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t id = queue.used(static_cast<std::uint16_t>(i)).id;
    const bool ours = id % kDescriptorsOfRead == 0 && id / kDescriptorsOfRead < count;
    if (!ours || seen.test(id)) return failed(fmt::format("id {} came back", id));
    seen.set(id);
  }
  ctx.watch();
  if (queue.used_index() != count) return failed(fmt::format("used.idx is {}", queue.used_index()));
  return passed(fmt::format("{} requests", count));
}

Result<Finding> check_read_only_areas(CheckContext& ctx) {
  TRY(ctx.bring_up());
  offer_disk_request(ctx, read_at_head(0));
  ctx.queue().remember();
  std::array<std::byte, sizeof(spec::VirtioBlkReqHeader)> before{};
  ctx.queue().data().copy_out(kDiskHeaderAt, before);
  TRY(ctx.notify());
  TRY(ctx.wait_used(1));
  auto after = before;
  ctx.queue().data().copy_out(kDiskHeaderAt, after);
  if (ctx.queue().rings_changed()) return failed("it wrote to the descriptors or the driver area");
  return after == before ? passed() : failed("it wrote to a device-readable buffer");
}

/// Nothing but the sector and the status: the pattern around them stays.
Result<Finding> check_writes_its_buffers_only(CheckContext& ctx) {
  TRY(ctx.bring_up());
  RawQueue& queue = ctx.queue();
  std::vector<std::byte> before(queue.data().size());
  offer_disk_request(ctx, read_at_head(0));
  queue.data().copy_out(0, before);
  TRY(ctx.notify());
  TRY(ctx.wait_used(1));
  std::vector<std::byte> after(before.size());
  queue.data().copy_out(0, after);
  for (std::uint64_t at = 0; at < after.size(); ++at) {
    const bool its_own = airlock_range_inside(at, 1, kDiskDataAt, kUsedSector) ||
                         airlock_range_inside(at, 1, kDiskStatusAt, 1);
    if (!its_own && after[at] != before[at]) {
      return failed(fmt::format("byte {:#x} of the data area changed", at));
    }
  }
  return passed();
}

/// A header in three parts, data in two of odd sizes, the second with the status in it.
Result<Finding> check_framing(CheckContext& ctx) {
  TRY(ctx.bring_up());
  RawQueue& queue = ctx.queue();
  if (queue.size().value() < 5) return skipped("the queue is too small");
  const DiskAnswer plain = TRY(run_disk_request(ctx, read_at_head(0)));
  const spec::VirtioBlkReqHeader header{
      .type = Le32(spec::VIRTIO_BLK_T_IN), .reserved = {}, .sector = Le64(0)};
  queue.data().put(kDiskHeaderAt, header);
  constexpr std::uint32_t kFirst = 101;
  const Part parts[] = {
      {.offset = kDiskHeaderAt, .length = 1},
      {.offset = kDiskHeaderAt + 1, .length = 8},
      {.offset = kDiskHeaderAt + 9, .length = 7},
      {.offset = 2 * RawQueue::kPage, .length = kFirst, .writable = true},
      {.offset = 3 * RawQueue::kPage, .length = kReadWritable - kFirst, .writable = true}};
  queue.put_chain(0, parts);
  queue.make_available(0);
  TRY(ctx.notify());
  TRY(ctx.wait_used(2));
  std::vector<std::byte> data(kReadWritable);
  queue.data().copy_out(2 * RawQueue::kPage, std::span(data).first(kFirst));
  queue.data().copy_out(3 * RawQueue::kPage, std::span(data).subspan(kFirst));
  if (std::to_integer<std::uint8_t>(data.back()) != spec::VIRTIO_BLK_S_OK) {
    return failed(fmt::format("status {}", std::to_integer<unsigned>(data.back())));
  }
  data.pop_back();
  return data == plain.target ? passed() : failed("it reads other bytes than in one piece");
}

Result<Finding> check_interrupt(CheckContext& ctx) {
  if (!ctx.has_vectors()) return skipped("no interrupts can be had here");
  TRY(ctx.bring_up());
  (void)TRY(run_disk_request(ctx, read_at_head(0)));
  return ctx.wait_vector(kQueueVectorNumber) ? passed() : failed("no interrupt came");
}

Result<Finding> check_no_interrupt(CheckContext& ctx) {
  if (!ctx.has_vectors()) return skipped("no interrupts can be had here");
  TRY(ctx.bring_up());
  ctx.queue().set_avail_flags(spec::VIRTQ_AVAIL_F_NO_INTERRUPT);
  (void)TRY(run_disk_request(ctx, read_at_head(0)));
  const bool fired = ctx.fires_in_quiet(kQueueVectorNumber);
  return passed(fired ? "sent all the same, which it may" : "");
}

Result<Finding> check_no_vector(CheckContext& ctx) {
  if (!ctx.has_vectors()) return skipped("no interrupts can be had here");
  TRY(ctx.prepare());
  (void)TRY(ctx.common().set_queue_vector(spec::VIRTIO_MSI_NO_VECTOR));
  TRY(ctx.enable_queue(ctx.queue().areas()));
  TRY(ctx.add_status(spec::VIRTIO_CONFIG_S_DRIVER_OK));
  (void)TRY(run_disk_request(ctx, read_at_head(0)));
  if (ctx.fires_in_quiet(kQueueVectorNumber)) return failed("an interrupt came");
  return passed();
}

Result<Finding> check_used_flags(CheckContext& ctx) {
  TRY(ctx.bring_up());
  for (int round = 0; round < 4; ++round) {
    const std::uint16_t flags = ctx.queue().used_flags();
    if (flags > spec::VIRTQ_USED_F_NO_NOTIFY) return failed(fmt::format("used.flags {:#x}", flags));
    (void)TRY(run_disk_request(ctx, read_at_head(0)));
  }
  return passed();
}

/// Served without a notification where the device says that it needs none, and with one where it
/// asks for it: a hint is all that it is, so a notification in any state is right.
Result<Finding> check_notification_hint(CheckContext& ctx) {
  TRY(ctx.bring_up());
  (void)TRY(run_disk_request(ctx, read_at_head(0)));
  offer_disk_request(ctx, read_at_head(0));
  ring::full_barrier();  // avail.idx first, then the flag
  const bool wanted = (ctx.queue().used_flags() & spec::VIRTQ_USED_F_NO_NOTIFY) == 0;
  if (wanted) TRY(ctx.notify());
  const auto served = ctx.wait_used(2);
  if (!served) {
    return failed(wanted ? "not served though it was notified"
                         : "it advised against a notification and did not look");
  }
  return passed();
}

Result<Finding> check_spurious(CheckContext& ctx) {
  TRY(ctx.bring_up());
  for (int round = 0; round < 8; ++round)
    TRY(ctx.notify());
  const std::uint8_t status = TRY(ctx.common().status());
  if ((status & spec::VIRTIO_CONFIG_S_NEEDS_RESET) != 0) return failed("DEVICE_NEEDS_RESET is set");
  return read_first_sector(ctx);
}

/// Notify addresses of queues that are not enabled, and the last bytes of the structure.
Result<Finding> check_stray_notification(CheckContext& ctx) {
  TRY(ctx.bring_up());
  const pci::BarRange& place = ctx.notify_place();
  const std::uint64_t step = std::max<std::uint64_t>(ctx.capabilities().notify_off_multiplier, 2);
  for (const std::uint64_t offset : {step, place.length - 2}) {
    if (!airlock_range_within(offset, 2, place.length)) continue;
    TRY(ctx.transport().write({.bar = place.bar,
                               .offset = (place.offset + offset) & ~std::uint64_t{1},
                               .width = Width::k2},
                              0xffff));
  }
  return read_first_sector(ctx);
}

constexpr Check kUsedChecks[] = {
    {"VIRTIO-2.7.8.2/id", "a used element names the chain's head", Needs::kDisk, check_id},
    {"VIRTIO-2.7.8.2/length", "used.len is no more than was writable", Needs::kDisk, check_length},
    {"VIRTIO-2.7.8/wrap", "indices and rings wrap", Needs::kDisk, check_wrap},
    {"VIRTIO-2.7.8/batch", "requests made available at once come back once each", Needs::kDisk,
     check_batch},
    {"VIRTIO-2.7.5.1", "descriptors, driver area and readable buffers stay as they are",
     Needs::kDisk, check_read_only_areas},
    {"DMB-D8/region", "nothing of the region changes but what is the device's to write",
     Needs::kDisk, check_writes_its_buffers_only},
    {"VIRTIO-2.7.4.1", "a request may be cut up in any way", Needs::kDisk, check_framing},
    {"VIRTIO-2.7.7.2/interrupt", "a used buffer is announced by an interrupt", Needs::kDisk,
     check_interrupt},
    {"VIRTIO-2.7.7.2/suppressed", "NO_INTERRUPT: served, and SHOULD be silent", Needs::kDisk,
     check_no_interrupt},
    {"VIRTIO-4.1.5.3.1", "a queue without a vector sends no interrupt", Needs::kDisk,
     check_no_vector},
    {"VIRTIO-2.7.10.2/flags", "used.flags is 0 or 1", Needs::kDisk, check_used_flags},
    {"VIRTIO-2.7.10.2/hint", "NO_NOTIFY is kept: the device looks by itself", Needs::kDisk,
     check_notification_hint},
    {"VIRTIO-2.7.10.2/spurious", "notifications without a buffer do no harm", Needs::kDisk,
     check_spurious},
    {"VIRTIO-4.1.5.2", "notifications of other queues do no harm", Needs::kDisk,
     check_stray_notification},
};

}  // namespace

std::span<const Check> used_checks() {
  return kUsedChecks;
}

}  // namespace airlock::driver::conformance
