// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "device/blk/blk_metrics.h"
#include "device/endpoint.h"

namespace airlock::cli {

/// The counters of a served disk as JSON, for --stats.
struct ServeStats {
  device::Endpoint::Stats endpoint;
  device::BlkCounts blk;
  std::uint64_t copied_bytes = 0;  // by this process, between region and disk
};
std::string to_json(const ServeStats& stats);

}  // namespace airlock::cli
