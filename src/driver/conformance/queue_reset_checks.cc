// SPDX-License-Identifier: Apache-2.0
//
// The reset of one queue, where VIRTIO_F_RING_RESET is offered: VIRTIO 1.3, 2.6.1.
#include <optional>

#include <fmt/core.h>

#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"
#include "driver/conformance/raw_disk.h"
#include "driver/wait.h"

namespace airlock::driver::conformance {

namespace {

using Cfg = spec::VirtioPciCommonCfg;

constexpr std::uint32_t kQueueResetEnd = offsetof(Cfg, queue_reset) + sizeof(Le16);

/// A running device whose queue 0 served a request and then was reset; or why there is none.
Result<std::optional<Finding>> reset_queue_0(CheckContext& ctx) {
  if (!ctx.offers(spec::VIRTIO_F_RING_RESET)) return skipped("RING_RESET is not offered");
  if (ctx.common_place().length < kQueueResetEnd) return failed("there is no queue_reset");
  ctx.accept_also(spec::feature(spec::VIRTIO_F_RING_RESET));
  TRY(ctx.bring_up());
  (void)TRY(run_disk_request(ctx, {.target_bytes = spec::VIRTIO_BLK_SECTOR_BYTES}));
  TRY(ctx.common().select_queue(0));
  TRY(ctx.put<std::uint16_t>(offsetof(Cfg, queue_reset), 1));
  const Deadline deadline = Deadline::after(ctx.options().timeout);
  for (unsigned round = 0; TRY(ctx.get<std::uint16_t>(offsetof(Cfg, queue_reset))) != 0; ++round) {
    if (deadline.passed()) return failed("queue_reset never reads 0 again");
    pause_between_polls(round);
  }
  return std::optional<Finding>();
}

Result<Finding> check_queue_reset(CheckContext& ctx) {
  const auto obstacle = TRY(reset_queue_0(ctx));
  if (obstacle) return *obstacle;
  const std::uint16_t enabled = TRY(ctx.common().queue_enable());
  if (enabled != 0) return failed(fmt::format("queue_enable is {}", enabled));
  return passed();
}

Result<Finding> check_reset_queue_is_quiet(CheckContext& ctx) {
  const auto obstacle = TRY(reset_queue_0(ctx));
  if (obstacle) return *obstacle;
  offer_disk_request(ctx, {.target_bytes = spec::VIRTIO_BLK_SECTOR_BYTES});
  ctx.queue().remember();
  const std::uint16_t before = ctx.queue().used_index();
  TRY(ctx.notify());
  ctx.watch();
  if (ctx.queue().used_index() != before || ctx.queue().data_changed()) {
    return failed("it served a queue that was reset");
  }
  return passed();
}

/// Enabled anew, with both indices back at 0.
Result<Finding> check_queue_again(CheckContext& ctx) {
  const auto obstacle = TRY(reset_queue_0(ctx));
  if (obstacle) return *obstacle;
  ctx.queue().clear();
  TRY(ctx.enable_queue(ctx.queue().areas()));
  const std::uint16_t enabled = TRY(ctx.common().queue_enable());
  if (enabled != 1) return failed(fmt::format("queue_enable is {}", enabled));
  return read_first_sector(ctx);
}

constexpr Check kQueueResetChecks[] = {
    {"VIRTIO-4.1.4.3.1/queue-reset", "RING_RESET: queue_reset and queue_enable read 0 then",
     Needs::kDisk, check_queue_reset},
    {"VIRTIO-2.6.1.1.1", "RING_RESET: a queue that was reset is not served", Needs::kDisk,
     check_reset_queue_is_quiet},
    {"VIRTIO-2.6.1.2.1", "RING_RESET: it can be enabled again, from the start", Needs::kDisk,
     check_queue_again},
};

}  // namespace

std::span<const Check> queue_reset_checks() {
  return kQueueResetChecks;
}

}  // namespace airlock::driver::conformance
