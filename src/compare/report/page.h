// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "compare/report/report.h"

namespace airlock::compare {

/// One HTML page about a comparison, for a person who has nothing else: what was run and when, the
/// plots, the numbers, and what they can't say. It has no script and loads nothing, which it also
/// tells the browser to enforce; all text of `report` is escaped.
[[nodiscard]] std::string page_of(const Report& report);

}  // namespace airlock::compare
