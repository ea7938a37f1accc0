// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <string>

#include <fmt/core.h>

namespace airlock::cli {

/// Why a command failed, for a person: `airlock: WHAT: WHY: WHAT TO DO`, and the exit status.
struct Failure {
  int status = 1;  // 1: it was tried and failed; 2: the command line is wrong
  std::string what;
  std::string why;
  std::string what_to_do;

  [[nodiscard]] std::string line() const {
    return fmt::format("airlock: {}: {}: {}", what, why, what_to_do);
  }
};

using Outcome = std::expected<void, Failure>;

inline std::unexpected<Failure> failed(std::string what, std::string why, std::string what_to_do) {
  return std::unexpected(
      Failure{.what = std::move(what), .why = std::move(why), .what_to_do = std::move(what_to_do)});
}
inline std::unexpected<Failure> usage(std::string what, std::string why, std::string what_to_do) {
  return std::unexpected(Failure{.status = 2,
                                 .what = std::move(what),
                                 .why = std::move(why),
                                 .what_to_do = std::move(what_to_do)});
}

}  // namespace airlock::cli
