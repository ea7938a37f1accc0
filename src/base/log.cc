// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <unistd.h>

#include <algorithm>
#include <string>

namespace airlock {

namespace {

std::atomic<LogLevel> g_level{LogLevel::kInfo};

std::string_view name(LogLevel level) {
  switch (level) {
    case LogLevel::kError:
      return "error";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kDebug:
      return "debug";
  }
  return "?";
}

}  // namespace

void set_log_level(LogLevel level) {
  g_level.store(level, std::memory_order_relaxed);
}

bool log_enabled(LogLevel level) {
  return level <= g_level.load(std::memory_order_relaxed);
}

void log_line(LogLevel level, std::string_view text) {
  if (!log_enabled(level)) return;
  const std::string line = fmt::format("airlock: {}: {}\n", name(level), text);
  // A log that can't be written is not worth stopping a device for.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

bool LogLimit::allow(std::chrono::steady_clock::time_point now) {
  const std::int64_t now_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count();
  std::int64_t last_ms = refilled_ms_.load();
  const std::int64_t due = (now_ms - last_ms) / options_.refill.count();
  // One caller wins the refill; losers find the tokens there or go without, which is as good.
  if (due > 0 && refilled_ms_.compare_exchange_strong(last_ms, now_ms)) {
    const std::uint64_t sum = std::uint64_t{tokens_.load()} + static_cast<std::uint64_t>(due);
    tokens_.store(static_cast<std::uint32_t>(std::min<std::uint64_t>(sum, options_.burst)));
  }
  std::uint32_t left = tokens_.load();
  while (left > 0) {
    if (tokens_.compare_exchange_weak(left, left - 1)) return true;
  }
  ++suppressed_;
  return false;
}

}  // namespace airlock
