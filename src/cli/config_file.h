// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <string>
#include <vector>

#include "cli/outcome.h"

namespace airlock::cli {

/// One [[device]] of a configuration: a command line, and where each word of it was written.
struct DeviceConfig {
  std::string type;                // the subcommand: "blk"
  std::string name;                // tells the devices of a file apart: its socket
  std::vector<std::string> words;  // "--region=64M", "--readonly"; in the order of their names
  std::uint32_t line = 0;          // of its [[device]]
  std::map<std::string, std::uint32_t> lines;  // key -> line

  /// Whether it is the same device, wherever it was written.
  [[nodiscard]] bool same_as(const DeviceConfig& other) const {
    return type == other.type && words == other.words;
  }
  /// The name of the region that it shares with others (--region shared:NAME); empty if with none.
  [[nodiscard]] std::string shared_region() const;
};

struct Config {
  bool sandbox = true;
  std::vector<DeviceConfig> devices;
};

/// Reads a configuration in TOML: `sandbox`, and a table [[device]] for each device, with its
/// `type` and, as keys, the long options that `airlock serve TYPE` has, without their dashes:
/// checked as those are, by the same parser. `file`: for messages, which name file, line and key.
[[nodiscard]] std::expected<Config, Failure> parse_config(const std::string& text,
                                                          const std::string& file);

/// The same from a file.
[[nodiscard]] std::expected<Config, Failure> read_config(const std::string& file);

}  // namespace airlock::cli
