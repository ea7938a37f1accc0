// SPDX-License-Identifier: Apache-2.0
#include "driver/conformance/violation.h"

#include <span>

#include <fmt/core.h>

#include "driver/conformance/raw_disk.h"

namespace airlock::driver::conformance {

Result<Finding> expect_violation(CheckContext& ctx) {
  if (!TRY(ctx.wait_status(spec::VIRTIO_CONFIG_S_NEEDS_RESET))) {
    return failed("DEVICE_NEEDS_RESET was not set");
  }
  if (!TRY(ctx.wait_config_signal())) {
    return failed("DEVICE_NEEDS_RESET was set without a configuration interrupt");
  }
  if (ctx.queue().data_changed() || ctx.queue().rings_changed()) {
    return failed("it wrote to memory of what it had to refuse");
  }
  return works_after_reset(ctx);
}

Result<Finding> expect_nothing_done(CheckContext& ctx, const Part& part) {
  RawQueue& queue = ctx.queue();
  queue.remember();
  queue.put_chain(0, std::span(&part, 1));
  queue.make_available(0);
  TRY(ctx.notify());
  const auto used = ctx.wait_used(queue.avail_index());
  if (queue.data_changed()) return failed("it wrote to what it was to read");
  if (!used) {
    if (used.error().code == Errc::kNeedsReset) return passed("DEVICE_NEEDS_RESET");
    return fail(used.error());
  }
  const std::uint32_t written = queue.used(0).length;
  return written == 0 ? passed("it came back") : failed(fmt::format("{} bytes used", written));
}

}  // namespace airlock::driver::conformance
