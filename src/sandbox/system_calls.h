// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/result.h"
#include "sandbox/profile.h"

namespace airlock::sandbox {

/// Leaves the process, with all threads that it has and will have, the system calls of `role` only
/// (call_lists.h). Those that no honest code makes end the process with SIGSYS; clone3 is ENOSYS,
/// as on an old kernel, so that glibc goes on to clone, whose flags can be looked at; every other
/// is refused as refusal.h has it. Needs no-new-privileges.
/// Errors: kSystem (ENOSYS, EINVAL: the kernel has no seccomp filters).
Result<void> restrict_system_calls(Role role);

}  // namespace airlock::sandbox
