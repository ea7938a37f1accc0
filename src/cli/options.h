// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/outcome.h"

namespace airlock::cli {

/// Parses the command line and runs the command it names. Help goes to stdout and succeeds;
/// anything wrong comes back as a Failure with status 2.
Outcome run_command_line(int argc, char** argv);

// `airlock serve`, as a configuration's file needs it.

/// Whether there is such a kind of device.
[[nodiscard]] bool serves(const std::string& type);

enum class OptionTakes : std::uint8_t { kNothing, kValue };
/// What an option ("--region") of a kind of device that there is takes; nothing if there is no such
/// option.
[[nodiscard]] std::optional<OptionTakes> serve_option(const std::string& type,
                                                      const std::string& name);

/// What a command line asks for, not yet begun.
struct ServeLine {
  std::shared_ptr<void> options;  // outlives the action, and the device that comes of it
  std::function<Outcome()> action;
};
/// Parses `airlock serve TYPE WORDS...`. Errors: why it can't be, with the option's name.
[[nodiscard]] std::expected<ServeLine, std::string> parse_serve(
    const std::string& type, const std::vector<std::string>& words);

}  // namespace airlock::cli
