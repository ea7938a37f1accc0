// SPDX-License-Identifier: Apache-2.0
//
// Rings with VIRTIO_F_EVENT_IDX, VIRTIO_F_NOTIFICATION_DATA and VIRTIO_F_IN_ORDER, each where it is
// offered.
#include <optional>

#include <fmt/core.h>

#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"
#include "driver/conformance/raw_disk.h"

namespace airlock::driver::conformance {

namespace {

constexpr std::uint16_t kEventVector = 1;
constexpr std::uint16_t kFarEvent = 0x4000;
constexpr std::uint16_t kRequestSlots = 3;

DiskRequest event_read(std::uint16_t head = 0) {
  return {.target_bytes = spec::VIRTIO_BLK_SECTOR_BYTES, .head = head};
}

/// Brings the device up with one more feature; or says why not.
Result<std::optional<Finding>> bring_up_with(CheckContext& ctx, unsigned bit, const char* name) {
  if (!ctx.offers(bit)) return skipped(fmt::format("{} is not offered", name));
  ctx.accept_also(spec::feature(bit));
  TRY(ctx.bring_up());
  return std::optional<Finding>();
}

Result<Finding> check_used_event(CheckContext& ctx) {
  if (!ctx.has_vectors()) return skipped("no interrupts can be had here");
  const auto obstacle = TRY(bring_up_with(ctx, spec::VIRTIO_F_EVENT_IDX, "EVENT_IDX"));
  if (obstacle) return *obstacle;
  // The flag means nothing with the feature: 2.7.7.2, the device MUST ignore it.
  ctx.queue().set_avail_flags(spec::VIRTQ_AVAIL_F_NO_INTERRUPT);
  ctx.queue().set_used_event(0);
  (void)TRY(run_disk_request(ctx, event_read()));
  if (!ctx.wait_vector(kEventVector)) return failed("used_event was reached, no interrupt came");
  ctx.queue().set_used_event(kFarEvent);
  (void)TRY(run_disk_request(ctx, event_read()));
  const bool fired = ctx.fires_in_quiet(kEventVector);
  ctx.queue().set_used_event(ctx.queue().used_index());
  (void)TRY(run_disk_request(ctx, event_read()));
  if (!ctx.wait_vector(kEventVector)) return failed("the second used_event was passed over");
  return passed(fired ? "sent before used_event too, which it may" : "");
}

Result<Finding> check_flags_with_events(CheckContext& ctx) {
  const auto obstacle = TRY(bring_up_with(ctx, spec::VIRTIO_F_EVENT_IDX, "EVENT_IDX"));
  if (obstacle) return *obstacle;
  for (int round = 0; round < 4; ++round) {
    if (ctx.queue().used_flags() != 0) {
      return failed(fmt::format("used.flags {:#x}", ctx.queue().used_flags()));
    }
    (void)TRY(run_disk_request(ctx, event_read()));
  }
  return passed();
}

/// Where the available ring stands after the request, in the upper half; the queue in the lower.
Result<Finding> check_notification_data(CheckContext& ctx) {
  const auto obstacle =
      TRY(bring_up_with(ctx, spec::VIRTIO_F_NOTIFICATION_DATA, "NOTIFICATION_DATA"));
  if (obstacle) return *obstacle;
  for (std::uint32_t index = 1; index <= 4; ++index) {
    offer_disk_request(ctx, event_read());
    TRY(ctx.notify_with_data(index << 16));
    TRY(ctx.wait_used(static_cast<std::uint16_t>(index)));
  }
  return passed();
}

/// A lie about the ring in a notification is a hint like any other: the ring itself counts.
Result<Finding> check_wrong_notification_data(CheckContext& ctx) {
  const auto obstacle =
      TRY(bring_up_with(ctx, spec::VIRTIO_F_NOTIFICATION_DATA, "NOTIFICATION_DATA"));
  if (obstacle) return *obstacle;
  for (const std::uint32_t data : {0xffff'0000U, 0x8000'ffffU, 0x0000'1234U})
    TRY(ctx.notify_with_data(data));
  offer_disk_request(ctx, event_read());
  TRY(ctx.notify_with_data(1U << 16));
  TRY(ctx.wait_used(1));
  return passed();
}

Result<Finding> check_in_order(CheckContext& ctx) {
  const auto obstacle = TRY(bring_up_with(ctx, spec::VIRTIO_F_IN_ORDER, "IN_ORDER"));
  if (obstacle) return *obstacle;
  RawQueue& queue = ctx.queue();
  const std::uint32_t count = queue.size().value() / kRequestSlots;
  if (count < 2) return skipped("the queue is too small for two requests");
  for (std::uint32_t i = 0; i < count; ++i)
    offer_disk_request(ctx, event_read(static_cast<std::uint16_t>(i * kRequestSlots)));
  TRY(ctx.notify());
  TRY(ctx.wait_used(static_cast<std::uint16_t>(count)));
  // Of a batch only the last element need be written, which is the last of all here.
  const std::uint32_t last = queue.used(static_cast<std::uint16_t>(count - 1)).id;
  const std::uint32_t wanted = (count - 1) * kRequestSlots;
  if (last == wanted) return passed();
  return failed(fmt::format("the last element has id {}, not {}", last, wanted));
}

constexpr Check kEventChecks[] = {
    {"VIRTIO-2.7.7.2/used-event", "EVENT_IDX: an interrupt when used_event is reached",
     Needs::kDisk, check_used_event},
    {"VIRTIO-2.7.10.2/event-flags", "EVENT_IDX: used.flags is 0", Needs::kDisk,
     check_flags_with_events},
    {"VIRTIO-4.1.5.2/data", "NOTIFICATION_DATA: a notification of 32 bits is understood",
     Needs::kDisk, check_notification_data},
    {"VIRTIO-4.1.5.2/wrong-data", "NOTIFICATION_DATA: wrong data does no harm", Needs::kDisk,
     check_wrong_notification_data},
    {"VIRTIO-6.2/in-order", "IN_ORDER: the last of a batch is its last request", Needs::kDisk,
     check_in_order},
};

}  // namespace

std::span<const Check> event_checks() {
  return kEventChecks;
}

}  // namespace airlock::driver::conformance
