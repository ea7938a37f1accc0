// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "compare/model.h"
#include "compare/workload.h"

namespace airlock::compare {

/// A load, and what it came to through one model.
struct LoadRow {
  Cell cell;
  RunResult sum;  // of all rounds
};
/// A request, and what of the guest the device could see for it.
struct ExposureRow {
  bool write = false;
  Exposure exposure;
};
struct ModelRows {
  const Model* model = nullptr;
  std::vector<ExposureRow> exposures;
  std::vector<LoadRow> loads;
  Seen scan;  // at the end
};

struct ComparisonOptions {
  std::vector<const Model*> models;  // that carry the traffic
  Traffic traffic = Traffic::kBlk;
  std::chrono::milliseconds time{};  // of all loads together
  /// Is told now and then how much is done, of how much.
  std::function<void(std::uint64_t done, std::uint64_t all)> progress;
};

/// Each load is run so often through each model, in turns, so that what else the machine does meets
/// all of them.
inline constexpr unsigned kRounds = 3;

/// The loads: each size for which there is a plan, reads and writes, at depth 1 and the deepest.
[[nodiscard]] std::vector<Cell> all_loads(Traffic traffic);

/// Why a model carries no such traffic here, in a line; empty: it does.
[[nodiscard]] std::string_view cannot_carry(const Model& model, Traffic traffic);

/// Which model failed, and how.
struct ComparisonError {
  const Model* model = nullptr;
  Error error{};
};

/// Runs everything through every model. The process has one thread (Rig::start()).
[[nodiscard]] std::expected<std::vector<ModelRows>, ComparisonError> compare(
    const ComparisonOptions& options);

}  // namespace airlock::compare
