// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/result.h"

namespace airlock::sandbox {

/// Has the kernel's Landlock forbid this thread, and those that it will start, all that this
/// kernel's version of it can forbid: to open, make, remove or execute files by any path; TCP;
/// abstract UNIX sockets of, and signals to, processes outside. What is open stays usable.
/// Returns that version. Needs no-new-privileges. Errors: kSystem (ENOSYS, EOPNOTSUPP: none here).
Result<int> landlock_everything();

}  // namespace airlock::sandbox
