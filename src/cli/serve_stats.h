// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "base/fd.h"
#include "device/endpoint.h"

namespace airlock::cli {

/// Adds what every served device counts, for --stats.
void add_counters(nlohmann::ordered_json& json, const device::Endpoint::Stats& stats);

/// The file that counters are written to: open from the start, as a sandbox has no paths.
class StatsFile {
 public:
  /// Nothing is written where `path` is empty. A file that can't be opened is only worth a warning.
  explicit StatsFile(std::string path);
  /// Replaces what was in the file.
  void write(const nlohmann::ordered_json& counters) const;

 private:
  std::string path_;
  Fd file_;
};

}  // namespace airlock::cli
