// SPDX-License-Identifier: Apache-2.0
//
// What somebody who reads the region could find there.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "shm/shared_bytes.h"

namespace airlock::testing {

/// A copy of all of it.
[[nodiscard]] inline std::vector<std::byte> copy_of(const shm::SharedBytes& region) {
  std::vector<std::byte> bytes(region.size());
  region.copy_out(0, bytes);
  return bytes;
}

/// Places where `pattern` stands.
[[nodiscard]] inline std::size_t count_in(const shm::SharedBytes& region,
                                          std::span<const std::byte> pattern) {
  const std::vector<std::byte> all = copy_of(region);
  std::size_t found = 0;
  for (auto at = all.begin();; ++at, ++found) {
    at = std::search(at, all.end(), pattern.begin(), pattern.end());
    if (at == all.end()) return found;
  }
}

/// Where hardly any of 64 bytes in a row is what it was: data, if anything is. The end if nowhere.
[[nodiscard]] inline std::size_t first_changed_run(const std::vector<std::byte>& before,
                                                   const std::vector<std::byte>& after) {
  constexpr std::size_t kRun = 64;
  constexpr int kMostlyAll = 56;
  for (std::size_t at = 0; at + kRun <= after.size(); ++at) {
    if (after[at] == before[at]) continue;
    int changed = 0;
    for (std::size_t i = at; i < at + kRun; ++i)
      changed += after[i] != before[i] ? 1 : 0;
    if (changed >= kMostlyAll) return at;
  }
  return after.size();
}

}  // namespace airlock::testing
