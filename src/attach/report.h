// SPDX-License-Identifier: Apache-2.0
//
// What a process that was started for a device tells the one that started it: over a socket, a line
// a report. The end of the one is the end of the other's input; so either notices it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace airlock::attach {

/// The device is open, and clients are served.
struct Ready {
  std::uint64_t capacity_bytes = 0;
  std::uint32_t block_bytes = 0;

  friend bool operator==(const Ready&, const Ready&) = default;
};

/// It can't be used, or not any more: for a person.
struct Failed {
  bool misnamed = false;  // the command line is wrong
  std::string what;
  std::string why;
  std::string advice;

  friend bool operator==(const Failed&, const Failed&) = default;
};

using Report = std::variant<Ready, Failed>;

/// One line, with its newline; control characters in the texts become blanks.
std::string to_line(const Report& report);

/// The same back, of a line without its newline; nullopt if it is none.
std::optional<Report> parse_report(std::string_view line);

}  // namespace airlock::attach
