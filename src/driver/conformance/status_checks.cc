// SPDX-License-Identifier: Apache-2.0
//
// The device status and what a reset does. VIRTIO 1.3, 2.1, 2.4, 3.1.
#include <fmt/core.h>

#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"
#include "driver/conformance/raw_disk.h"

namespace airlock::driver::conformance {

namespace {

constexpr std::uint8_t kAcknowledge = spec::VIRTIO_CONFIG_S_ACKNOWLEDGE;
constexpr std::uint8_t kDriverBit = spec::VIRTIO_CONFIG_S_DRIVER;
constexpr std::uint8_t kFeaturesOk = spec::VIRTIO_CONFIG_S_FEATURES_OK;
constexpr std::uint8_t kDriverOk = spec::VIRTIO_CONFIG_S_DRIVER_OK;
constexpr std::uint8_t kFailed = spec::VIRTIO_CONFIG_S_FAILED;
constexpr std::uint8_t kAgreed = kAcknowledge | kDriverBit | kFeaturesOk;

Result<Finding> status_is(CheckContext& ctx, std::uint8_t wanted) {
  const std::uint8_t now = TRY(ctx.common().status());
  if (now == wanted) return passed();
  return failed(fmt::format("the status is {:#x}, not {:#x}", now, wanted));
}

Result<Finding> check_reset(CheckContext& ctx) {
  TRY(ctx.add_status(kAcknowledge));
  TRY(ctx.add_status(kDriverBit));
  TRY(ctx.reset());
  return status_is(ctx, 0);
}

Result<Finding> check_running_reset(CheckContext& ctx) {
  TRY(ctx.bring_up());
  TRY(ctx.reset());
  return status_is(ctx, 0);
}

Result<Finding> check_bits_stay(CheckContext& ctx) {
  std::uint8_t bits = 0;
  for (const std::uint8_t bit : {kAcknowledge, kDriverBit}) {
    bits |= bit;
    TRY(ctx.common().write_status(bits));
    Finding finding = TRY(status_is(ctx, bits));
    if (finding.verdict != Verdict::kPass) return finding;
  }
  TRY(ctx.common().write_accepted_features(ctx.own_features()));
  TRY(ctx.common().write_status(kAgreed));
  return status_is(ctx, kAgreed);
}

Result<Finding> check_driver_ok(CheckContext& ctx) {
  TRY(ctx.bring_up());
  return status_is(ctx, kAgreed | kDriverOk);
}

Result<Finding> check_failed_bit(CheckContext& ctx) {
  TRY(ctx.add_status(kAcknowledge));
  TRY(ctx.add_status(kFailed));
  const std::uint8_t now = TRY(ctx.common().status());
  if ((now & kFailed) == 0) return failed(fmt::format("the status is {:#x}", now));
  TRY(ctx.reset());
  return status_is(ctx, 0);
}

/// A request in an enabled queue, and no DRIVER_OK.
Result<Finding> check_waits_for_driver_ok(CheckContext& ctx) {
  TRY(ctx.prepare());
  TRY(ctx.enable_queue(ctx.queue().areas()));
  offer_disk_request(ctx, {.target_bytes = spec::VIRTIO_BLK_SECTOR_BYTES});
  ctx.queue().remember();
  TRY(ctx.notify());
  ctx.watch();
  if (ctx.queue().used_index() != 0 || ctx.queue().data_changed()) {
    return failed("it served a request before DRIVER_OK");
  }
  TRY(ctx.add_status(kDriverOk));
  TRY(ctx.notify());
  TRY(ctx.wait_used(1));
  return passed();
}

/// The rings of before, with a request in them: a device that was reset knows nothing of them.
Result<Finding> check_quiet_after_reset(CheckContext& ctx) {
  TRY(ctx.bring_up());
  TRY(ctx.reset());
  ctx.drain_vectors();
  offer_disk_request(ctx, {.target_bytes = spec::VIRTIO_BLK_SECTOR_BYTES});
  ctx.queue().remember();
  TRY(ctx.notify());
  ctx.watch();
  if (ctx.queue().used_index() != 0 || ctx.queue().data_changed()) {
    return failed("it served a request after it was reset");
  }
  if (ctx.has_vectors() && (ctx.fires_in_quiet(0) || ctx.fires_in_quiet(1))) {
    return failed("it sent an interrupt after it was reset");
  }
  return passed();
}

/// Negotiated anew, but with no queue enabled.
Result<Finding> check_forgets_addresses(CheckContext& ctx) {
  TRY(ctx.bring_up());
  TRY(ctx.prepare());
  TRY(ctx.add_status(kDriverOk));
  offer_disk_request(ctx, {.target_bytes = spec::VIRTIO_BLK_SECTOR_BYTES});
  ctx.queue().remember();
  TRY(ctx.notify());
  ctx.watch();
  if (ctx.queue().used_index() != 0 || ctx.queue().data_changed()) {
    return failed("it served a queue of before the reset");
  }
  return passed();
}

Result<Finding> check_many_resets(CheckContext& ctx) {
  constexpr int kRounds = 20;
  for (int round = 0; round < kRounds; ++round) {
    TRY(ctx.bring_up());
    if (ctx.device_type() == spec::VIRTIO_ID_BLOCK) {
      offer_disk_request(ctx, {.target_bytes = spec::VIRTIO_BLK_SECTOR_BYTES});
      TRY(ctx.notify());  // and reset with the request on its way
    }
    TRY(ctx.reset());
  }
  return works_after_reset(ctx);
}

constexpr Check kStatusChecks[] = {
    {"VIRTIO-2.4.1/reset", "writing 0 resets: the status reads 0 in time", Needs::kRegisters,
     check_reset},
    {"VIRTIO-2.1/bits", "the driver's bits read as they were set", Needs::kRegisters,
     check_bits_stay},
    {"VIRTIO-2.1/failed", "FAILED stays until a reset", Needs::kRegisters, check_failed_bit},
    {"VIRTIO-3.1.1", "the whole sequence gets to DRIVER_OK", Needs::kRegion, check_driver_ok},
    {"VIRTIO-4.1.4.3.1/reset", "a running device resets in time", Needs::kRegion,
     check_running_reset},
    {"VIRTIO-2.1.2/driver-ok", "no buffer is used before DRIVER_OK", Needs::kDisk,
     check_waits_for_driver_ok},
    {"VIRTIO-2.4.1/quiet", "after a reset no queue is served, no interrupt sent", Needs::kDisk,
     check_quiet_after_reset},
    {"DEF-7", "a reset makes the device forget its queues", Needs::kDisk, check_forgets_addresses},
    {"VIRTIO-2.4.1/again", "20 resets in a row, with requests in flight", Needs::kRegion,
     check_many_resets},
};

}  // namespace

std::span<const Check> status_checks() {
  return kStatusChecks;
}

}  // namespace airlock::driver::conformance
