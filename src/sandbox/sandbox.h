// SPDX-License-Identifier: Apache-2.0
//
// The door that a process closes behind itself before it reads the first byte of a peer.
#pragma once

#include "sandbox/measure.h"
#include "sandbox/profile.h"

namespace airlock::sandbox {

/// Takes every measure of `profile` that this machine has, for good, and reports what came of each.
/// One that is not available stops nothing: the caller decides what it can't do without.
///
/// Afterwards no path leads anywhere: open what is needed before. Every call that `profile.role`
/// has no use for fails with EPERM, which is logged, or ends the process (SIGSYS) where no honest
/// code would make it.
///
/// The process has one thread yet (CHECK): most measures hold for the thread that takes them and
/// for those that it starts. Works for root and for every other user.
Report enter(const Profile& profile);

/// Whether this build goes without the measures that its own instrumentation can't live with
/// (sanitizers that look at threads from outside, coverage counters that are written at the end).
[[nodiscard]] bool relaxed_build();

}  // namespace airlock::sandbox
