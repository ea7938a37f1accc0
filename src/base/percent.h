// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <memory>
#include <optional>
#include <string_view>

namespace airlock {

/// The share that a person wrote: decimal digits, then a per cent sign if they like, from 0 to 100.
/// Nothing where the text is anything else.
[[nodiscard]] inline std::optional<unsigned> parse_percent(std::string_view text) {
  if (text.ends_with('%')) text.remove_suffix(1);
  unsigned percent = 0;
  const char* const last = std::to_address(text.end());
  const auto [end, error] = std::from_chars(std::to_address(text.begin()), last, percent);
  if (error != std::errc() || end != last || percent > 100) return std::nullopt;
  return percent;
}

}  // namespace airlock
