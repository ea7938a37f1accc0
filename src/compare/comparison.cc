// SPDX-License-Identifier: Apache-2.0
#include "compare/comparison.h"

#include <algorithm>

#include "compare/rig.h"

namespace airlock::compare {

namespace {

using Rigs = std::vector<std::unique_ptr<Rig>>;

constexpr std::chrono::milliseconds kSliceLeast{5};

// What can't keep data is not measured.
Result<void> look_at_exposure(Rig& rig, Traffic traffic, ModelRows& rows) {
  TRY(rig.verify());
  for (const BufferPlan& plan : plans_of(traffic)) {
    for (const bool write : {false, true}) {
      rows.exposures.push_back(
          { .write = write, .exposure = TRY(rig.expose(plan.request_bytes, write)) });
    }
  }
  return {};
}

Result<void> run_load(Rig& rig, std::chrono::milliseconds time, LoadRow& row) {
  row.sum += TRY(rig.run(row.cell, time));
  return {};
}

Result<void> scan(Rig& rig, ModelRows& rows) {
  rows.scan = TRY(rig.scan());
  return {};
}

std::optional<ComparisonError> failure_of(const Model* model, const Result<void>& result) {
  if (result) return std::nullopt;
  return ComparisonError{.model = model, .error = result.error()};
}

}  // namespace

std::vector<Cell> all_loads(Traffic traffic) {
  std::vector<Cell> loads;
  for (const BufferPlan& plan : plans_of(traffic)) {
    for (const bool write : {false, true}) {
      for (const std::uint32_t depth : {std::uint32_t{1}, std::uint32_t{kDeepest}})
        loads.push_back({.request_bytes = plan.request_bytes, .write = write, .depth = depth});
    }
  }
  return loads;
}

std::string_view cannot_carry(const Model& model, Traffic traffic) {
  const bool encrypted = model.encryption != crypt::Algorithm::kNone;
  if (traffic == Traffic::kNet && encrypted) return "the rig's driver seals a disk's requests only";
  return {};
}

std::expected<std::vector<ModelRows>, ComparisonError> compare(const ComparisonOptions& options) {
  const std::vector<Cell> loads = all_loads(options.traffic);
  Rigs rigs;
  std::vector<ModelRows> all;
  for (const Model* const model : options.models) {
    auto rig = Rig::start(*model, {}, options.traffic);
    if (!rig) return std::unexpected(ComparisonError{.model = model, .error = rig.error()});
    rigs.push_back(std::move(*rig));
    ModelRows& rows = all.emplace_back();
    rows.model = model;
    for (const Cell& cell : loads)
      rows.loads.push_back({.cell = cell, .sum = {}});
    const auto failure = failure_of(model, look_at_exposure(*rigs.back(), options.traffic, rows));
    if (failure) return std::unexpected(*failure);
  }
  const std::uint64_t runs = kRounds * loads.size() * rigs.size();
  const auto slice = std::max(
      kSliceLeast, options.time / static_cast<std::int64_t>(std::max<std::uint64_t>(runs, 1)));
  std::uint64_t done = 0;
  for (unsigned round = 0; round < kRounds; ++round) {
    for (std::size_t load = 0; load < loads.size(); ++load) {
      for (std::size_t i = 0; i < rigs.size(); ++i) {
        const auto failure =
            failure_of(all[i].model, run_load(*rigs[i], slice, all[i].loads[load]));
        if (failure) return std::unexpected(*failure);
        if (options.progress) options.progress(++done, runs);
      }
    }
  }
  for (std::size_t i = 0; i < rigs.size(); ++i) {
    const auto failure = failure_of(all[i].model, scan(*rigs[i], all[i]));
    if (failure) return std::unexpected(*failure);
  }
  return all;
}

}  // namespace airlock::compare
