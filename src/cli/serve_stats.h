// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/fd.h"
#include "device/blk/blk_metrics.h"
#include "device/endpoint.h"

namespace airlock::cli {

/// The counters of a served disk as JSON, for --stats.
struct ServeStats {
  device::Endpoint::Stats endpoint;
  device::BlkCounts blk;
  std::uint64_t copies = 0;        // requests whose bytes this process moved between region and
                                   // disk
  std::uint64_t copied_bytes = 0;  // and how many
};
std::string to_json(const ServeStats& stats);

/// The file that they are written to: open from the start, as a sandbox has no paths.
class StatsFile {
 public:
  /// Nothing is written where `path` is empty. A file that can't be opened is only worth a warning.
  explicit StatsFile(std::string path);
  /// Replaces what was in the file.
  void write(const ServeStats& stats) const;

 private:
  std::string path_;
  Fd file_;
};

}  // namespace airlock::cli
