// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "driver/deadline.h"

namespace airlock::driver {

/// Lets others run between two looks at a register that no interrupt announces: a few yields, then
/// up to a millisecond a round. `round` counts from 0.
void pause_between_polls(unsigned round);

/// Waits until one of the fds (-1 is none) is readable: true; or the deadline passed: false.
bool wait_readable(std::span<const int> fds, const Deadline& deadline);

}  // namespace airlock::driver
