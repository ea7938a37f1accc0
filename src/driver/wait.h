// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <span>

#include "driver/deadline.h"

namespace airlock::driver {

/// Lets others run between two looks at a register that no interrupt announces: a few yields, then
/// pauses that grow to some milliseconds. `round` counts from 0.
void pause_between_polls(unsigned round);

/// The same for as long as a PollPace says; zero is a yield.
void pause_for(std::chrono::microseconds time);

/// Waits until one of the fds (-1 is none) is readable: true; or the deadline passed: false.
bool wait_readable(std::span<const int> fds, const Deadline& deadline);

/// The same for a short time; a signal may end it.
bool wait_readable(std::span<const int> fds, std::chrono::microseconds time);

}  // namespace airlock::driver
