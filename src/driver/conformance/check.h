// SPDX-License-Identifier: Apache-2.0
//
// What a conformance check is: a requirement, what is looked at, and a function that looks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace airlock::driver::conformance {

class CheckContext;

enum class Verdict : std::uint8_t { kPass, kFail, kSkip };

/// What a check found. `why` is never empty for kFail and kSkip.
struct Finding {
  Verdict verdict = Verdict::kPass;
  std::string why;
};

inline Finding passed(std::string why = {}) {
  return {.verdict = Verdict::kPass, .why = std::move(why)};
}
inline Finding failed(std::string why) {
  return {.verdict = Verdict::kFail, .why = std::move(why)};
}
inline Finding skipped(std::string why) {
  return {.verdict = Verdict::kSkip, .why = std::move(why)};
}

/// What there must be before a check can look; each has what is above it too.
enum class Needs : std::uint8_t {
  kConfigSpace,  // a PCI device that answers
  kRegisters,    // usable common, notify and ISR structures
  kRegion,       // a region that the device offers, and that can be mapped
  kDisk,         // that, and a block device
};

/// One check. It starts with the device reset and leaves it in any state. An error that it returns
/// counts as a failure: the device did not answer, or not as it has to.
struct Check {
  using Function = Result<Finding> (*)(CheckContext&);

  constexpr Check(std::string_view its_id, std::string_view its_what, Needs its_needs,
                  Function its_run)
      : id(its_id), what(its_what), needs(its_needs), run(its_run) {}

  std::string_view id;    // a requirement, and a word where it has several checks: DEF-5/wraps
  std::string_view what;  // what is looked at, in a few words
  Needs needs;
  Function run;
};

}  // namespace airlock::driver::conformance
