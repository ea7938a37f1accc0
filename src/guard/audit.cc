// SPDX-License-Identifier: Apache-2.0
#include "guard/audit.h"

#include <unistd.h>

#include <chrono>
#include <utility>

#include <fmt/core.h>

namespace airlock::guard {

namespace {

// A JSON string. What is not plain ASCII, be it a peer's doing, becomes a question mark.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c >= ' ' && c <= '~' ? c : '?';
  }
  return out + '"';
}

// UTC, as ISO 8601. Without the C library's calendar, which reads the time zone from a file.
std::string timestamp() {
  using std::chrono::days;
  using std::chrono::milliseconds;
  const auto now = std::chrono::floor<milliseconds>(std::chrono::system_clock::now());
  const auto day = std::chrono::floor<days>(now);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss time(now - day);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     time.hours().count(), time.minutes().count(), time.seconds().count(),
                     time.subseconds().count());
}

}  // namespace

const char* name(Decision decision) {
  switch (decision) {
    case Decision::kAnswered:
      return "answered";
    case Decision::kForwarded:
      return "forwarded";
    case Decision::kRefused:
      return "refused";
    case Decision::kWithheld:
      return "withheld";
    case Decision::kFailed:
      return "failed";
  }
  return "?";
}

void Audit::record(const AuditEntry& entry) {
  Message& message = messages_[entry.message];
  ++message.counts.at(static_cast<std::size_t>(entry.decision));
  if (!entry.rare && !message.limit.allow()) return;
  std::string line = fmt::format(
      R"({{"time":"{}","device":{},"message":{},"decision":"{}","reason":{})", timestamp(),
      quoted(device_), quoted(entry.message), name(entry.decision), quoted(entry.reason));
  if (const auto suppressed = message.limit.take_suppressed(); suppressed != 0) {
    line += fmt::format(R"(,"suppressed":{})", suppressed);
  }
  write_line(line + "}");
}

void Audit::write_counters() {
  std::string counters;
  for (const auto& [message_name, message] : messages_) {
    std::string counts;
    for (std::size_t i = 0; i < kDecisions; ++i) {
      if (message.counts.at(i) == 0) continue;
      counts += fmt::format(R"({}"{}":{})", counts.empty() ? "" : ",",
                            name(static_cast<Decision>(i)), message.counts.at(i));
    }
    counters +=
        fmt::format("{}{}:{{{}}}", counters.empty() ? "" : ",", quoted(message_name), counts);
  }
  write_line(fmt::format(R"({{"time":"{}","device":{},"counters":{{{}}}}})", timestamp(),
                         quoted(device_), counters));
}

std::uint64_t Audit::count(const std::string& message, Decision decision) const {
  const auto found = messages_.find(message);
  return found == messages_.end() ? 0 : found->second.counts.at(static_cast<std::size_t>(decision));
}

void Audit::write_line(std::string line) {
  if (!file_) return;
  line += '\n';
  // A full disk must not stop the guard: then the rule is enforced without a record.
  [[maybe_unused]] const ssize_t written = write(file_.get(), line.data(), line.size());
}

}  // namespace airlock::guard
