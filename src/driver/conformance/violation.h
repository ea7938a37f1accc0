// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "driver/conformance/check_context.h"

namespace airlock::driver::conformance {

/// Whether a running device that was just shown something forbidden does what DEF-5 and DMB-D7 ask
/// for: sets DEVICE_NEEDS_RESET, signals a configuration change, touched no memory since
/// RawQueue::remember(), and works again after a reset.
Result<Finding> expect_violation(CheckContext& ctx);

/// Whether a running device that is shown `part` of the data area, which says nothing that it could
/// do, returns it with nothing written, or says that it needs a reset.
Result<Finding> expect_nothing_done(CheckContext& ctx, const Part& part);

}  // namespace airlock::driver::conformance
