// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "ring/chain.h"

namespace airlock::device {

/// Of renameat2(2)'s flags: RENAME_EXCHANGE.
inline constexpr std::uint32_t kFuseExchange = 2;

/// What of a FUSE request says which files a driver holds: a private copy, read once. Fields that
/// an operation does not have are 0 or empty.
struct FuseRequest {
  std::uint32_t opcode = 0;  // FUSE_*
  std::uint64_t unique = 0;
  std::uint64_t node = 0;
  std::uint64_t other_node = 0;  // a rename's new directory; what a link leads to
  std::uint64_t handle = 0;      // that a release ends
  std::uint32_t flags = 0;       // of open(2), or renameat2(2)
  // NOLINTBEGIN(readability-redundant-member-init): GCC wants it, to be left out where not used
  std::string name = {};
  std::string new_name = {};  // of a rename
  // Nodes that are forgotten, each so many times.
  std::vector<std::pair<std::uint64_t, std::uint64_t>> forgotten = {};
  // NOLINTEND(readability-redundant-member-init)

  /// Nothing, of a chain that is too short for its operation: a backend's to judge.
  static std::optional<FuseRequest> read(const ring::Chain& chain);

  /// Whether its reply, if it is a good one, changes which files and handles the driver holds.
  [[nodiscard]] bool changes_session() const;
};

/// Whether a file's name can be handed on as a path: it can leave its directory by no means.
[[nodiscard]] bool is_file_name(std::string_view name);

}  // namespace airlock::device
