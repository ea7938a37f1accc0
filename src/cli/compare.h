// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "cli/outcome.h"

namespace airlock::cli {

struct CompareOptions {
  std::vector<std::string> models;  // empty: all
  std::string workload = "blk";
  std::chrono::microseconds time = std::chrono::seconds(60);  // of all loads together
  bool list = false;
  bool json = false;
  std::string page;  // the file to write as HTML; empty: none
  std::string from;  // the file with the JSON of another run, to make a page of; empty: run
};

/// `airlock compare`: the same requests, or frames, through every way to keep a device out of a
/// guest's memory.
Outcome compare_models(const CompareOptions& options);

}  // namespace airlock::cli
