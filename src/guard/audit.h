// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "base/fd.h"
#include "base/log.h"

namespace airlock::guard {

enum class Decision : std::uint8_t {
  kAnswered,   // by the guard itself: the other side hears nothing of it
  kForwarded,  // as it was asked, or the part of it that the policy allows
  kRefused,    // with an error
  kWithheld,   // left out of what was passed on
  kFailed,     // the device, which is given up or started anew
};
inline constexpr std::size_t kDecisions = 5;
[[nodiscard]] const char* name(Decision decision);

/// What was asked, what became of it and why.
struct AuditEntry {
  const char* message = "";  // the protocol's name of it, or the guard's own
  Decision decision = Decision::kAnswered;
  std::string reason;
  bool rare = false;  // bounded by other means: never left out
};

/// One JSON object a line: time (UTC), device, message, decision, reason, and `suppressed`, how
/// many lines were left out before it. A flood writes a bounded number of lines; the counters count
/// it whole. One thread.
class Audit {
 public:
  /// `file` is written to, if there is one; `device` names the device in every line.
  Audit(Fd file, std::string device) : file_(std::move(file)), device_(std::move(device)) {}

  void record(const AuditEntry& entry);
  /// Writes the counters as a line of their own.
  void write_counters();

  /// How often `message` was met with `decision`.
  [[nodiscard]] std::uint64_t count(const std::string& message, Decision decision) const;

 private:
  using Counts = std::array<std::uint64_t, kDecisions>;

  void write_line(std::string line);

  Fd file_;
  std::string device_;
  // A limit for each message, so that a flood of one does not hide another.
  struct Message {
    LogLimit limit{{.burst = 16, .refill = std::chrono::milliseconds(1000)}};
    Counts counts{};
  };
  std::map<std::string, Message> messages_;
};

}  // namespace airlock::guard
