// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include "base/result.h"

namespace airlock::sandbox {

/// Moves the process, which has one thread, to a user namespace of its own, in which it has every
/// capability until it drops them, and out of which it has none. It stays the user that it was: its
/// own id is the only one that is mapped. Errors: kSystem (EPERM, ENOSPC: not allowed here).
Result<void> enter_user_namespace();

/// Maps these ids, the process's own of before, in the user namespace that it has just entered; and
/// no others. Errors: kSystem.
Result<void> map_own_ids(uid_t user, gid_t group);

/// Moves the process to mount, network, IPC, host name and cgroup namespaces of its own: sockets
/// made from now on reach nothing, and unmounting shows here but not outside. Those that it has
/// open stay what they are. Not a pid namespace, which would forbid new threads.
/// Errors: kSystem (EPERM: neither a user namespace nor root).
Result<void> enter_namespaces();

/// Makes an empty, read-only directory the root of all paths, and the only mount. Needs a mount
/// namespace of its own. Errors: kSystem.
Result<void> enter_empty_root();

}  // namespace airlock::sandbox
