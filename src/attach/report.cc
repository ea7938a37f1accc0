// SPDX-License-Identifier: Apache-2.0
#include "attach/report.h"

#include <charconv>
#include <vector>

#include <fmt/core.h>

namespace airlock::attach {

namespace {

constexpr char kSeparator = '\t';

std::string field(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  }
  return text;
}

std::vector<std::string_view> split(std::string_view line) {
  std::vector<std::string_view> fields;
  for (;;) {
    const std::size_t end = line.find(kSeparator);
    fields.push_back(line.substr(0, end));
    if (end == std::string_view::npos) return fields;
    line.remove_prefix(end + 1);
  }
}

template <class T>
std::optional<T> number(std::string_view text) {
  T value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc{} || parsed.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::string to_line(const Report& report) {
  if (const auto* ready = std::get_if<Ready>(&report)) {
    return fmt::format("ready\t{}\t{}\n", ready->capacity_bytes, ready->block_bytes);
  }
  const auto& failure = std::get<Failed>(report);
  return fmt::format("{}\t{}\t{}\t{}\n", failure.misnamed ? "misnamed" : "failed",
                     field(failure.what), field(failure.why), field(failure.advice));
}

std::optional<Report> parse_report(std::string_view line) {
  const auto fields = split(line);
  if (fields[0] == "ready" && fields.size() == 3) {
    const auto capacity = number<std::uint64_t>(fields[1]);
    const auto block = number<std::uint32_t>(fields[2]);
    if (!capacity || !block) return std::nullopt;
    return Ready{.capacity_bytes = *capacity, .block_bytes = *block};
  }
  if ((fields[0] == "failed" || fields[0] == "misnamed") && fields.size() == 4) {
    return Failed{.misnamed = fields[0] == "misnamed",
                  .what = std::string(fields[1]),
                  .why = std::string(fields[2]),
                  .advice = std::string(fields[3])};
  }
  return std::nullopt;
}

}  // namespace airlock::attach
