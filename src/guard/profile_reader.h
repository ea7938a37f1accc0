// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "guard/audit.h"
#include "guard/device_link.h"
#include "guard/device_profile.h"

namespace airlock::guard {

/// Asks a device what it is, over a fresh connection, and checks every answer. `done` is called
/// once, from DeviceLink::receive(), unless the connection fails before: then nothing is. What the
/// device may not have is left out, and said to `audit`: a region's memory that is not sealed
/// (the VM then reaches the region by messages). A device that could harm the VMM itself is an
/// error of `link`. `link` and `audit` outlive the connection.
Result<void> read_profile(const airlock_guard_rules& rules, DeviceLink& link, Audit& audit,
                          std::move_only_function<Result<void>(DeviceProfile)> done);

}  // namespace airlock::guard
