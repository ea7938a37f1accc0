// SPDX-License-Identifier: Apache-2.0
#include "sandbox/self_test.h"

#include <fmt/core.h>

#include "sandbox/trials.h"

namespace airlock::sandbox {

namespace {

std::string_view word(Outcome::Kind kind) {
  switch (kind) {
    case Outcome::Kind::kPrevented:
      return "ok";
    case Outcome::Kind::kSkipped:
      return "skipped";
    case Outcome::Kind::kDone:
      return "FAILED";
  }
  return "?";
}

}  // namespace

bool self_test(const Profile& profile, const std::function<void(std::string_view line)>& print) {
  bool good = true;
  for (const auto trials : {measure_trials(), common_trials(), role_trials(profile.role)}) {
    for (const Trial& trial : trials) {
      const Outcome outcome = run(trial, profile);
      good = good && outcome.kind != Outcome::Kind::kDone;
      print(fmt::format("{} {}: {}", word(outcome.kind), trial.name, outcome.text));
    }
  }
  return good;
}

}  // namespace airlock::sandbox
