// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include "base/result.h"

namespace airlock::sandbox {

/// fork(2), for a program that is not trusted with the processes around it: the child, and what it
/// starts, sees no process but these, in /proc neither, and so can't trace, read or take
/// descriptors from any. It keeps its user, its files and its network, and is process 1 where it
/// is: killing it ends all of them. Returns 0 in the child; the caller has one thread.
/// Errors: kSystem (EPERM: this machine lets nobody, or only root, have namespaces). In the parent
/// only: a child that can't hide the others ends at once, with status 126.
Result<pid_t> fork_alone();

}  // namespace airlock::sandbox
