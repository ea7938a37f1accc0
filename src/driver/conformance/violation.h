// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "driver/conformance/check_context.h"

namespace airlock::driver::conformance {

/// Whether a running device that was just shown something forbidden does what DEF-5 and DMB-D7 ask
/// for: sets DEVICE_NEEDS_RESET, signals a configuration change, touched no memory since
/// RawQueue::remember(), and works again after a reset.
Result<Finding> expect_violation(CheckContext& ctx);

}  // namespace airlock::driver::conformance
