// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "sandbox/measure.h"

namespace airlock::sandbox {

/// Who is in the sandbox, which says what system calls there are.
enum class Role : std::uint8_t {
  kGuard,   // one thread between sockets, which has all descriptors but those that it is sent
  kDevice,  // a device's server: queues' threads, regions, and I/O to what its backend has open
};

/// What a process locks itself into.
struct Profile {
  Role role = Role::kDevice;
  Measures measures = Measures::all();  // fewer only in tests of a measure
};

inline constexpr Profile kGuardProfile{.role = Role::kGuard};
inline constexpr Profile kDeviceProfile{.role = Role::kDevice};

}  // namespace airlock::sandbox
