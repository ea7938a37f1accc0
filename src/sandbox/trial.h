// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "sandbox/measure.h"
#include "sandbox/profile.h"

namespace airlock::sandbox {

/// Whom a trial may try to get at: a process outside, of the same user.
struct Outside {
  pid_t process = 0;
  std::uintptr_t address = 0;  // readable there
};

/// One thing that a sandbox has to prevent. Where nothing does, the attempt leaves no trace.
struct Trial {
  /// What an attempt returns that only looks, and finds the measure in force.
  static constexpr int kInForce = -1;

  const char* name = nullptr;
  Measure of = Measure::kSystemCalls;  // whose trial it is: skipped where that is not available
  Measures taken = Measures::all();    // before the attempt: fewer, so that no other prevents it
  int (*attempt)(const Outside& outside) = nullptr;  // 0: done; an errno; kInForce
  int refusal = 0;  // an errno that counts, beside EPERM and EACCES
};

struct Outcome {
  enum class Kind : std::uint8_t { kPrevented, kSkipped, kDone };
  Kind kind = Kind::kDone;
  std::string text;  // "refused (EPERM)", "killed (SIGSYS)", "this kernel has none"
};

/// Forks, has the child enter the sandbox and make the attempt, and says what came of it.
/// Of the measures of `profile` those are taken that the trial names; the trial of one that
/// `profile` leaves out is made all the same, and shows what comes of that.
Outcome run(const Trial& trial, const Profile& profile);

}  // namespace airlock::sandbox
