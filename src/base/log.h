// SPDX-License-Identifier: Apache-2.0
//
// A log for people and for journald: one line an event on stderr, `airlock: LEVEL: text`. Lines
// that a peer can cause go through a LogLimit, so that a hostile one can't fill a disk.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string_view>

#include <fmt/core.h>

namespace airlock {

enum class LogLevel : std::uint8_t { kError, kWarning, kInfo, kDebug };

/// Lines above this level are dropped. Any thread. Starts at kInfo.
void set_log_level(LogLevel level);
[[nodiscard]] bool log_enabled(LogLevel level);

/// Writes one line with one write(2). Any thread.
void log_line(LogLevel level, std::string_view text);

template <class... Args>
void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(level)) log_line(level, fmt::format(format, std::forward<Args>(args)...));
}

/// Lets through a burst of lines, then a few a second, and counts the rest. Any thread.
class LogLimit {
 public:
  struct Options {
    std::uint32_t burst = 8;
    std::chrono::milliseconds refill = std::chrono::milliseconds(1000);  // for one more line
  };
  LogLimit() : LogLimit(Options{}) {}
  explicit LogLimit(Options options) : options_(options), tokens_(options.burst) {}

  /// Whether this line may go out now.
  [[nodiscard]] bool allow() { return allow(std::chrono::steady_clock::now()); }
  [[nodiscard]] bool allow(std::chrono::steady_clock::time_point now);
  /// Lines held back since the last call.
  [[nodiscard]] std::uint64_t take_suppressed() { return suppressed_.exchange(0); }

 private:
  Options options_;
  std::atomic<std::uint32_t> tokens_;
  std::atomic<std::int64_t> refilled_ms_{0};
  std::atomic<std::uint64_t> suppressed_{0};
};

}  // namespace airlock
