// SPDX-License-Identifier: Apache-2.0
//
// What a sandbox is made of, and what came of each part on this machine.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace airlock::sandbox {

/// In the order in which they are taken. Each closes something that the others may leave open, so
/// that a kernel without one of them still has a sandbox: docs/SANDBOX.md.
enum class Measure : std::uint8_t {
  kLimits,         // no core dump, no more descriptors than at the start
  kUserNamespace,  // whatever it is here, it is nobody outside
  kNamespaces,     // mounts, network, IPC, host name and cgroups of its own: empty or useless ones
  kEmptyRoot,      // the root directory is an empty one, and nothing else is mounted
  kNoNewPrivileges,  // no program that it might start gets more rights than it has
  kLandlock,         // no file is opened, made or removed, no TCP port used, no process signalled
  kCapabilities,     // none
  kNotDumpable,      // closed to other processes of the same user: ptrace, /proc/PID/mem
  kSystemCalls,      // those of the role's list only
};

inline constexpr std::array kMeasures{
    Measure::kLimits,       Measure::kUserNamespace,   Measure::kNamespaces,
    Measure::kEmptyRoot,    Measure::kNoNewPrivileges, Measure::kLandlock,
    Measure::kCapabilities, Measure::kNotDumpable,     Measure::kSystemCalls,
};

/// "empty root": for logs and reports.
[[nodiscard]] std::string_view name(Measure measure);

/// A set of measures.
class Measures {
 public:
  constexpr Measures() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): one measure is a set of one
  constexpr Measures(Measure measure) : bits_(std::uint32_t{1} << std::to_underlying(measure)) {}
  [[nodiscard]] static constexpr Measures all() { return Measures(kAllBits); }

  [[nodiscard]] constexpr bool has(Measure measure) const {
    return (bits_ & Measures(measure).bits_) != 0;
  }
  friend constexpr Measures operator|(Measures a, Measures b) {
    return Measures(a.bits_ | b.bits_);
  }
  friend constexpr Measures operator&(Measures a, Measures b) {
    return Measures(a.bits_ & b.bits_);
  }

 private:
  static constexpr std::uint32_t kAllBits = (std::uint32_t{1} << kMeasures.size()) - 1;
  explicit constexpr Measures(std::uint32_t bits) : bits_(bits) {}
  std::uint32_t bits_ = 0;
};

constexpr Measures operator|(Measure a, Measure b) {
  return Measures(a) | Measures(b);
}

/// What came of one measure.
struct Finding {
  Measure measure = Measure::kLimits;
  bool in_force = false;
  std::string note;  // why it is not; or what is less about it than it could be
};

/// What came of all that were asked for, in their order.
class Report {
 public:
  void in_force(Measure measure, std::string note = {});
  void not_available(Measure measure, std::string why);

  [[nodiscard]] bool has(Measure measure) const;
  [[nodiscard]] const std::vector<Finding>& findings() const { return findings_; }
  /// Whether each is in force that was asked for.
  [[nodiscard]] bool complete() const;
  /// One line: "no new privileges, Landlock (ABI 7), ...; not available: empty root (WHY)".
  [[nodiscard]] std::string text() const;

 private:
  std::vector<Finding> findings_;
};

}  // namespace airlock::sandbox
