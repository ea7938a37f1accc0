// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>

#include <nlohmann/json_fwd.hpp>

#include "cli/outcome.h"
#include "compare/locked_bus/rogue_reads.h"
#include "compare/two_stage/stale_reads.h"

namespace airlock::cli {

/// Ways to keep a device out that are no model of the rig's disk: what they do is measured by
/// itself.
struct ApartRows {
  compare::StaleReads flush_unseen;   // SYS-8, the hypervisor hears of no invalidation
  compare::StaleReads flush_trapped;  // and of every one
  compare::RogueReads bus_open;       // SYS-12, without a window
  compare::RogueReads bus_locked;     // and with one, locked by firmware
};

/// Runs them all, for less than a second.
[[nodiscard]] std::expected<ApartRows, Failure> measure_apart();

void print_apart(const ApartRows& rows);
[[nodiscard]] nlohmann::ordered_json apart_json(const ApartRows& rows);

}  // namespace airlock::cli
