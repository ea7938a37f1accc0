// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace airlock {

/// The time that a person wrote: decimal digits, then us, ms, s or m; a bare number is seconds.
/// Nothing where the text is anything else, or longer than a year.
[[nodiscard]] std::optional<std::chrono::microseconds> parse_duration(std::string_view text);

}  // namespace airlock
