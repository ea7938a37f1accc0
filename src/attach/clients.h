// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace airlock::attach {

/// Ends the input of every client of this process: of each UNIX socket that it has accepted. What
/// they asked before is still answered, and then they read the end. Returns how many there were.
/// Sockets that this process connected itself stay as they are.
std::size_t hang_up_on_clients();

}  // namespace airlock::attach
