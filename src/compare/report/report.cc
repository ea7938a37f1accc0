// SPDX-License-Identifier: Apache-2.0
#include "compare/report/report.h"

#include <algorithm>
#include <set>

namespace airlock::compare {

namespace {

// Of all loads of all models.
std::set<std::uint32_t> depths_of(const Report& report) {
  std::set<std::uint32_t> depths;
  for (const ReportModel& model : report.models) {
    for (const ReportLoad& load : model.loads)
      depths.insert(load.depth);
  }
  return depths;
}

}  // namespace

std::vector<std::uint64_t> Report::sizes() const {
  std::set<std::uint64_t> found;
  for (const ReportModel& model : models) {
    for (const ReportLoad& load : model.loads)
      found.insert(load.request_bytes);
  }
  return {found.begin(), found.end()};
}

std::uint32_t Report::least_depth() const {
  const auto depths = depths_of(*this);
  return depths.empty() ? 0 : *depths.begin();
}

std::uint32_t Report::most_depth() const {
  const auto depths = depths_of(*this);
  return depths.empty() ? 0 : *depths.rbegin();
}

const ReportLoad* find_load(const ReportModel& model, std::uint64_t request_bytes, bool write,
                            std::uint32_t depth) {
  const auto found = std::ranges::find_if(model.loads, [=](const ReportLoad& load) {
    return load.request_bytes == request_bytes && load.write == write && load.depth == depth;
  });
  return found == model.loads.end() ? nullptr : &*found;
}

const ReportExposure* find_exposure(const ReportModel& model, std::uint64_t request_bytes,
                                    bool write) {
  const auto found = std::ranges::find_if(model.exposures, [=](const ReportExposure& exposure) {
    return exposure.request_bytes == request_bytes && exposure.write == write;
  });
  return found == model.exposures.end() ? nullptr : &*found;
}

std::uint64_t pool_most_bytes(const ReportModel& model) {
  std::uint64_t most = 0;
  for (const ReportLoad& load : model.loads)
    most = std::max(most, load.pool_high_water_bytes);
  return most;
}

}  // namespace airlock::compare
