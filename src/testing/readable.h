// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <poll.h>

namespace airlock::testing {

/// Whether `fd` is readable now.
[[nodiscard]] inline bool is_readable(int fd) {
  pollfd one{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&one, 1, 0) == 1 && (one.revents & POLLIN) != 0;
}

/// Waits until it is. False after 20 s: something is stuck.
[[nodiscard]] inline bool wait_until_readable(int fd) {
  pollfd one{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&one, 1, 20'000) == 1 && (one.revents & POLLIN) != 0;
}

}  // namespace airlock::testing
