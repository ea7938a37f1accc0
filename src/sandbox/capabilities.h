// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/result.h"

namespace airlock::sandbox {

/// Drops every capability of this thread: effective, permitted, inheritable and ambient. True if
/// the bounding set is empty as well, which takes the right to (root's, or that of an own user
/// namespace). Errors: kSystem.
Result<bool> drop_capabilities();

}  // namespace airlock::sandbox
