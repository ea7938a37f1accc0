// SPDX-License-Identifier: Apache-2.0
#include "base/size.h"

#include <charconv>
#include <system_error>

#include <fmt/core.h>

#include "base/checked.h"

namespace airlock {

namespace {

constexpr std::string_view kSizeUnits = "KMGT";
constexpr unsigned kBitsPerUnit = 10;

/// The factor of a unit's letter; nothing for any other letter.
std::optional<std::uint64_t> factor_of(char letter) {
  constexpr char kToUpper = 'a' - 'A';
  const char upper = letter >= 'a' && letter <= 'z' ? static_cast<char>(letter - kToUpper) : letter;
  const std::size_t place = kSizeUnits.find(upper);
  if (place == std::string_view::npos) return std::nullopt;
  return std::uint64_t{1} << (kBitsPerUnit * (place + 1));
}

}  // namespace

std::optional<std::uint64_t> parse_size(std::string_view text) {
  std::uint64_t number = 0;
  // from_chars takes neither a sign nor white space for an unsigned type.
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  const std::string_view suffix(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (suffix.empty()) return number;
  if (suffix.size() > 1) return std::nullopt;
  const auto factor = factor_of(suffix.front());
  if (!factor) return std::nullopt;
  return checked_multiply(number, *factor);
}

std::string format_size(std::uint64_t bytes) {
  std::size_t unit = 0;
  constexpr std::uint64_t kStep = std::uint64_t{1} << kBitsPerUnit;
  while (unit < kSizeUnits.size() && bytes != 0 && bytes % kStep == 0) {
    bytes /= kStep;
    ++unit;
  }
  if (unit == 0) return fmt::format("{}", bytes);
  return fmt::format("{}{}", bytes, kSizeUnits[unit - 1]);
}

}  // namespace airlock
