// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "compare/report/report.h"

namespace airlock::cli {

/// What comparison_json() made, as a page needs it. The error says what of it is not as that makes
/// it: JSON from a file may be anything.
[[nodiscard]] std::expected<compare::Report, std::string> report_of(
    const nlohmann::ordered_json& json);

/// The same of text. The error may also be that it is no JSON.
[[nodiscard]] std::expected<compare::Report, std::string> parse_report(std::string_view text);

}  // namespace airlock::cli
