// SPDX-License-Identifier: Apache-2.0
#include "sandbox/sandbox.h"

#include <malloc.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <limits>

#include <fmt/core.h>

#include "base/check.h"
#include "base/result.h"
#include "sandbox/capabilities.h"
#include "sandbox/landlock.h"
#include "sandbox/namespaces.h"
#include "sandbox/system_calls.h"

namespace airlock::sandbox {

namespace {

#ifdef AIRLOCK_SANDBOX_RELAXED
constexpr bool kRelaxed = true;
#else
constexpr bool kRelaxed = false;
#endif

/// Instrumentation opens files and starts a process that traces this one.
constexpr bool left_out(Measure measure) {
  return kRelaxed && (measure == Measure::kEmptyRoot || measure == Measure::kLandlock ||
                      measure == Measure::kSystemCalls);
}

/// What a measure that was taken has to say of itself; often nothing.
using Taken = Result<std::string>;

Result<void> limit(__rlimit_resource_t resource, rlim_t most) {
  rlimit now{};
  if (getrlimit(resource, &now) != 0) return fail(system_error());
  const rlim_t value = std::min(now.rlim_cur, most);
  const rlimit wanted{.rlim_cur = value, .rlim_max = value};
  if (setrlimit(resource, &wanted) != 0) return fail(system_error());
  return {};
}

Taken take_limits(Role role) {
  TRY(limit(RLIMIT_CORE, 0));
  TRY(limit(RLIMIT_NOFILE, RLIM_INFINITY));  // what it is now, and no way back to more
  if (role == Role::kGuard && !kRelaxed) TRY(limit(RLIMIT_NPROC, 0));
  return std::string();
}

Taken take_no_new_privileges() {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail(system_error());
  return std::string();
}

Taken take_not_dumpable() {
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return fail(system_error());
  return std::string();
}

Taken take_landlock() {
  return fmt::format("ABI {}", TRY(landlock_everything()));
}

Taken take_capabilities() {
  const bool bounded = TRY(drop_capabilities());
  return std::string(bounded ? "" : "the bounding set is not ours to empty");
}

/// The ones that have nothing to say.
Taken plain(const Result<void>& result) {
  if (!result) return fail(result.error());
  return std::string();
}

Taken take(Measure measure, Role role) {
  switch (measure) {
    case Measure::kLimits:
      return take_limits(role);
    case Measure::kUserNamespace:
      return plain(enter_user_namespace());
    case Measure::kNamespaces:
      return plain(enter_namespaces());
    case Measure::kEmptyRoot:
      return plain(enter_empty_root());
    case Measure::kNoNewPrivileges:
      return take_no_new_privileges();
    case Measure::kLandlock:
      return take_landlock();
    case Measure::kCapabilities:
      return take_capabilities();
    case Measure::kNotDumpable:
      return take_not_dumpable();
    case Measure::kSystemCalls:
      return plain(restrict_system_calls(role));
  }
  CHECK(false);
  return fail(Errc::kUnsupported);
}

/// What is freed of a heap is kept: glibc asks a file in /proc before it gives a thread's back, and
/// there will be no files. Large pieces are mapped one by one, and go back all the same.
void keep_heaps() {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread
  static_cast<void>(mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max()));
}

bool single_threaded() {
  std::error_code none;
  const std::filesystem::directory_iterator threads("/proc/self/task", none);
  return none || std::distance(begin(threads), end(threads)) == 1;
}

}  // namespace

Report enter(const Profile& profile) {
  CHECK(kRelaxed || single_threaded());
  keep_heaps();
  Report report;
  for (const Measure measure : kMeasures) {
    if (!profile.measures.has(measure)) continue;
    if (left_out(measure)) {
      report.not_available(measure, "this build is instrumented");
      continue;
    }
    Taken taken = take(measure, profile.role);
    if (taken) {
      report.in_force(measure, std::move(*taken));
    } else {
      report.not_available(measure, describe(taken.error()));
    }
  }
  return report;
}

bool relaxed_build() {
  return kRelaxed;
}

}  // namespace airlock::sandbox
