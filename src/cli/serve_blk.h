// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "cli/outcome.h"
#include "cli/serve_options.h"
#include "device/blk/blk_hold.h"

namespace airlock::cli {

// What a queue may have: a request takes three entries, and a split ring has a power of two of
// them.
inline constexpr std::uint16_t kQueueSizeMin = 4;
inline constexpr std::uint16_t kQueueSizeMax = 32768;

struct ServeBlkOptions {
  ServeOptions serve;
  std::string backend;  // see backend::open_backend()
  bool read_only = false;
  std::uint16_t queues = 1;
  std::uint16_t queue_size = 256;
  std::string serial = "airlock";
  device::OnError on_error = device::OnError::kReport;
};

/// `airlock serve blk`: serves one disk on one socket until SIGTERM or SIGINT.
Outcome serve_blk(const ServeBlkOptions& options);

}  // namespace airlock::cli
