// SPDX-License-Identifier: Apache-2.0
#include "sandbox/measure.h"

#include <algorithm>

#include <fmt/core.h>

namespace airlock::sandbox {

namespace {

void append(std::string& list, const Finding& finding) {
  if (!list.empty()) list += ", ";
  list += name(finding.measure);
  if (!finding.note.empty()) list += fmt::format(" ({})", finding.note);
}

}  // namespace

std::string_view name(Measure measure) {
  switch (measure) {
    case Measure::kLimits:
      return "limits";
    case Measure::kUserNamespace:
      return "user namespace";
    case Measure::kNamespaces:
      return "namespaces";
    case Measure::kEmptyRoot:
      return "empty root";
    case Measure::kNoNewPrivileges:
      return "no new privileges";
    case Measure::kLandlock:
      return "Landlock";
    case Measure::kCapabilities:
      return "no capabilities";
    case Measure::kNotDumpable:
      return "not dumpable";
    case Measure::kSystemCalls:
      return "system calls";
  }
  return "?";
}

void Report::in_force(Measure measure, std::string note) {
  findings_.push_back({.measure = measure, .in_force = true, .note = std::move(note)});
}

void Report::not_available(Measure measure, std::string why) {
  findings_.push_back({.measure = measure, .in_force = false, .note = std::move(why)});
}

bool Report::has(Measure measure) const {
  return std::ranges::any_of(findings_,
                             [&](const Finding& f) { return f.measure == measure && f.in_force; });
}

bool Report::complete() const {
  return std::ranges::all_of(findings_, [](const Finding& f) { return f.in_force; });
}

std::string Report::text() const {
  std::string taken;
  std::string missing;
  for (const Finding& finding : findings_) {
    append(finding.in_force ? taken : missing, finding);
  }
  if (taken.empty()) taken = "nothing";
  return missing.empty() ? taken : fmt::format("{}; not available: {}", taken, missing);
}

}  // namespace airlock::sandbox
