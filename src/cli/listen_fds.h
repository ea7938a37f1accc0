// SPDX-License-Identifier: Apache-2.0
//
// Open files that whoever started us passed on by name, as sd_listen_fds_with_names(3) has it.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace airlock::cli {

/// LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES as they are in the environment; nullopt: not there.
struct ListenVariables {
  std::optional<std::string> pid;
  std::optional<std::string> fds;
  std::optional<std::string> names;  // with a colon between each two
};

/// Takes the three out of the environment, so that no child believes that it is meant. Not
/// thread-safe, as the environment isn't.
ListenVariables take_listen_variables();

struct NamedFd {
  int fd = -1;
  std::string name;  // empty: it has none

  friend bool operator==(const NamedFd&, const NamedFd&) = default;
};

/// What the variables say to process `own_pid`: the descriptors from 3 on, with their names. None
/// if nothing was passed on, or to another process. The error is why that makes no sense.
std::expected<std::vector<NamedFd>, std::string> parse_listen_fds(const ListenVariables& variables,
                                                                  int own_pid);

}  // namespace airlock::cli
