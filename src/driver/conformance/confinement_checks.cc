// SPDX-License-Identifier: Apache-2.0
//
// What a device asked for beyond its region while all of this ran.
#include <fmt/core.h>

#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"

namespace airlock::driver::conformance {

namespace {

Result<Finding> check_no_foreign_requests(CheckContext& ctx) {
  const auto seen = ctx.transport().foreign_requests();
  if (!seen) return skipped("what the device reads and writes can't be seen from here");
  const std::uint64_t all = *seen + ctx.options().foreign_requests;
  return all == 0 ? passed() : failed(fmt::format("it asked for memory of ours {} times", all));
}

constexpr Check kConfinementChecks[] = {
    {"DMB-D8/outside", "in all of this the device asked for no memory but its region",
     Needs::kConfigSpace, check_no_foreign_requests},
};

}  // namespace

std::span<const Check> confinement_checks() {
  return kConfinementChecks;
}

}  // namespace airlock::driver::conformance
