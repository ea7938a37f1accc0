// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string_view>

#include "sandbox/profile.h"

namespace airlock::sandbox {

/// Tries, from children that enter the sandbox of `profile`, each thing that it has to prevent, and
/// each of its measures by itself. Prints a line each, without its end:
///   ok ptrace the parent: killed (SIGSYS)
///   skipped Landlock: open a file: Function not implemented
///   FAILED socket: nothing prevented it
/// True if none failed. The caller itself stays outside.
bool self_test(const Profile& profile, const std::function<void(std::string_view line)>& print);

}  // namespace airlock::sandbox
