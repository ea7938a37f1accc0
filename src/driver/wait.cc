// SPDX-License-Identifier: Apache-2.0
#include "driver/wait.h"

#include <poll.h>

#include <array>
#include <thread>

#include "base/check.h"

namespace airlock::driver {

void pause_between_polls(unsigned round) {
  constexpr unsigned kYields = 16;
  if (round < kYields) {
    std::this_thread::yield();
  } else {
    (void)::poll(nullptr, 0, 1);
  }
}

bool wait_readable(std::span<const int> fds, const Deadline& deadline) {
  std::array<pollfd, 4> entries{};
  CHECK(fds.size() <= entries.size());
  for (std::size_t i = 0; i < fds.size(); i++) {
    entries[i] = {.fd = fds[i], .events = POLLIN, .revents = 0};
  }
  for (;;) {
    constexpr std::chrono::milliseconds kLongest{60'000};
    const auto left = std::min(deadline.left(), kLongest);
    const int ready = ::poll(entries.data(), fds.size(), static_cast<int>(left.count()));
    if (ready > 0) return true;
    if (deadline.passed()) return false;  // a signal or a long wait: go on
  }
}

}  // namespace airlock::driver
