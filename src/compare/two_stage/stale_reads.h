// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>

#include "compare/two_stage/machine.h"

namespace airlock::compare {

/// What came of a guest that takes a page back from its devices and then puts something private
/// there, again and again. Each device used the page while it was its own.
struct StaleReads {
  std::uint64_t unmaps = 0;
  std::uint64_t hardware = 0;  // times that the device of hardware read the private word
  std::uint64_t emulated = 0;  // and the emulated one
  std::uint64_t traps = 0;     // by the hypervisor
  std::uint64_t unmap_ns = 0;  // of all unmaps together, with what they wait for
};

/// Errors: the machine's; kWrongState (a device read neither what it was given nor what is private,
/// or was refused what it was let at).
Result<StaleReads> measure_stale_reads(const TwoStageMachine::Options& options,
                                       std::chrono::milliseconds time);

}  // namespace airlock::compare
