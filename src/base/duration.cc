// SPDX-License-Identifier: Apache-2.0
#include "base/duration.h"

#include <array>
#include <charconv>
#include <cstdint>

namespace airlock {

namespace {

struct Unit {
  std::string_view name;
  std::int64_t us;
};
constexpr std::array<Unit, 5> kDurationUnits{{{.name = "", .us = 1'000'000},
                                              {.name = "us", .us = 1},
                                              {.name = "ms", .us = 1000},
                                              {.name = "s", .us = 1'000'000},
                                              {.name = "m", .us = 60'000'000}}};
constexpr std::int64_t kLongestUs = 366LL * 24 * 3600 * 1'000'000;

}  // namespace

std::optional<std::chrono::microseconds> parse_duration(std::string_view text) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  const std::string_view suffix(end, static_cast<std::size_t>(text.data() + text.size() - end));
  for (const Unit& unit : kDurationUnits) {
    if (suffix != unit.name) continue;
    if (number > kLongestUs / unit.us) return std::nullopt;
    return std::chrono::microseconds(number * unit.us);
  }
  return std::nullopt;
}

}  // namespace airlock
