// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "compare/comparison.h"

namespace airlock::cli {

/// All that a run of `airlock compare` found.
struct CompareRun {
  compare::Traffic traffic = compare::Traffic::kBlk;
  std::vector<compare::ModelRows> rows;
  std::vector<const compare::Model*> left_out;  // those that carry no such traffic
};

/// What one load through one model costs, by request and by byte.
struct LoadCosts {
  double requests_per_s = 0;
  double bytes_per_s = 0;
  double p50_us = 0;
  double p99_us = 0;
  double cpu_ns_per_byte = 0;  // of all processes
  double copies_per_byte = 0;
  double stand_ins_per_byte = 0;
  double messages_per_request = 0;
  double wakes_per_request = 0;
  double mapped_us = 0;  // of a request
};
[[nodiscard]] LoadCosts costs_of(const compare::LoadRow& row);

/// Bytes of the guest in the device's sight for each byte that a request has.
[[nodiscard]] double visible_per_byte(const compare::Exposure& exposure);

/// The exposure of requests of such a size; null if it was not looked at.
[[nodiscard]] const compare::ExposureRow* exposure_of(const compare::ModelRows& rows,
                                                      std::uint64_t request_bytes, bool write);

/// Everything that was found, for a program: a report needs nothing else.
[[nodiscard]] nlohmann::ordered_json comparison_json(const CompareRun& run);

}  // namespace airlock::cli
