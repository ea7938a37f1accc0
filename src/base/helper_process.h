// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "base/fd.h"

namespace airlock {

/// A process of our own for the one thing that its server gives up with its sandbox: forked before,
/// it knows how to do that, does it when it is asked, and can be asked for nothing else, also by a
/// server that was taken over.
struct HelperProcess {
  const char* name = nullptr;  // as ps shows it: 15 characters at most
  std::size_t ways = 1;        // each is a channel to it
  // It execs programs, whose words go to the server's stderr; without, it has nowhere to say
  // something, and can gain no privilege.
  bool starts_programs = false;
};

/// In the process: its end of way `index`.
constexpr int helper_way(std::size_t index = 0) {
  return 3 + static_cast<int>(index);
}

/// Starts it: `work` runs there, and its return is the process' end. Nothing but the ways is open
/// in it, no signal to the whole group reaches it, nobody may trace it, and nobody needs to wait
/// for what it forks. Returns our ends: SOCK_SEQPACKET, blocking, close-on-exec; `work` reads end
/// of file when ours is closed.
/// The calling process has one thread yet. Errors: kSystem.
[[nodiscard]] Result<std::vector<Fd>> start_helper(const HelperProcess& helper,
                                                   const std::function<void()>& work);

}  // namespace airlock
