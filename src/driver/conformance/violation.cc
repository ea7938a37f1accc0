// SPDX-License-Identifier: Apache-2.0
#include "driver/conformance/violation.h"

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

}  // namespace airlock::driver::conformance
