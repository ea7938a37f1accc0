// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace airlock::compare {

/// A way to another process' memory that the system has.
enum class Reach : std::uint32_t {
  kMemory = 1,       // reading a word through /proc/PID/mem
  kMaps = 2,         // learning from /proc/PID/maps where that would be
  kDescriptors = 4,  // opening what /proc/PID/fd leads to
  kRead = 8,         // process_vm_readv(), for which a sandbox ends the process: tried last
};

/// Tries them all, as a hostile device would; which worked, as a mask.
[[nodiscard]] std::uint32_t try_to_reach(pid_t pid);

}  // namespace airlock::compare
