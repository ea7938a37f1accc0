// SPDX-License-Identifier: Apache-2.0
#include "base/address.h"

#include <charconv>
#include <system_error>

#include "base/size.h"

namespace airlock {

std::optional<std::uint64_t> parse_address(std::string_view text) {
  constexpr std::string_view kPrefix = "0x";
  if (!text.starts_with(kPrefix)) return parse_size(text);
  text.remove_prefix(kPrefix.size());
  std::uint64_t value = 0;
  constexpr int kHexadecimal = 16;
  const char* const end = text.data() + text.size();
  // NOLINTNEXTLINE(bugprone-suspicious-stringview-data-usage): `end` is its size
  const auto [at, error] = std::from_chars(text.data(), end, value, kHexadecimal);
  if (error != std::errc() || at != end) return std::nullopt;
  return value;
}

}  // namespace airlock
