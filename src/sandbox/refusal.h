// SPDX-License-Identifier: Apache-2.0
//
// What a refused system call looks like: to the caller an EPERM, to the person who wonders a line
// on stderr that names it.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace airlock::sandbox {

/// The filter's answer to a call that is in none of its lists: SIGSYS for our handler, where we
/// know how to return from it; otherwise EPERM from the kernel, silently.
[[nodiscard]] std::uint32_t refusal_action();

/// Has SIGSYS write `airlock: warning: sandbox: refused the system call NAME (NUMBER)`, at most
/// kRefusalLines times, and make the call return EPERM. A thread that blocks SIGSYS dies of it.
/// Errors: kSystem.
Result<void> name_refusals();

inline constexpr int kRefusalLines = 16;

}  // namespace airlock::sandbox
