// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace airlock::compare {

/// How a page and a table speak of what went through the models.
struct WorkloadWords {
  std::string_view request;  // what one is called, and several
  std::string_view requests;
  std::string_view reads;  // those that the device fills
  std::string_view writes;
  std::string_view read;  // before a size
  std::string_view write;
  std::string_view reads_of;  // a heading's beginning, before a size
  std::string_view writes_of;
  std::string_view behind;    // what is behind the device
  std::string_view ran;       // what was sent through all models
  std::string_view own_copy;  // what the device does itself, whatever the model
  std::string_view timed;     // from when to when a request takes, in a sentence
  std::string_view in_sight;  // how to read the plot of what is in sight
};

/// Those of `airlock compare --workload NAME`; of a name that nobody knows, those of blk.
[[nodiscard]] const WorkloadWords& words_for(std::string_view workload);

}  // namespace airlock::compare
