// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>

#include "cli/outcome.h"
#include "cli/serve_options.h"

namespace airlock::cli {

struct ServeRngOptions {
  ServeOptions serve;
  std::uint64_t max_bytes = 0;  // in a period; 0: no limit
  std::uint32_t period_ms = 65536;
};

/// `airlock serve rng`: serves random numbers on one socket until SIGTERM or SIGINT.
Outcome serve_rng(const ServeRngOptions& options);

}  // namespace airlock::cli
