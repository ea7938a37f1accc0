// SPDX-License-Identifier: Apache-2.0
#include "driver/wait.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <thread>

#include "base/check.h"
#include "driver/poll_pace.h"

namespace airlock::driver {

namespace {

// Four at most: a queue's interrupt, the configuration's, and what a caller adds.
using Entries = std::array<pollfd, 4>;

Entries entries_of(std::span<const int> fds) {
  Entries entries{};
  CHECK(fds.size() <= entries.size());
  for (std::size_t i = 0; i < fds.size(); i++) {
    entries[i] = {.fd = fds[i], .events = POLLIN, .revents = 0};
  }
  return entries;
}

}  // namespace

void pause_between_polls(unsigned round) {
  constexpr unsigned kYields = 16;
  constexpr unsigned kRoundsOfEach = 8;  // then the pause doubles
  if (round < kYields) return pause_for(std::chrono::microseconds(0));
  const unsigned doubled = std::min((round - kYields) / kRoundsOfEach, 8U);
  pause_for(std::min(PollPace::kShortest * (1U << doubled), PollPace::kLongest));
}

void pause_for(std::chrono::microseconds time) {
  if (time.count() == 0) {
    std::this_thread::yield();
  } else {
    (void)wait_readable({}, time);
  }
}

bool wait_readable(std::span<const int> fds, const Deadline& deadline) {
  Entries entries = entries_of(fds);
  for (;;) {
    constexpr std::chrono::milliseconds kLongest{60'000};
    const auto left = std::min(deadline.left(), kLongest);
    const int ready = ::poll(entries.data(), fds.size(), static_cast<int>(left.count()));
    if (ready > 0) return true;
    if (deadline.passed()) return false;  // a signal or a long wait: go on
  }
}

bool wait_readable(std::span<const int> fds, std::chrono::microseconds time) {
  Entries entries = entries_of(fds);
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  const timespec limit{.tv_sec = seconds.count(),
                       .tv_nsec = std::chrono::nanoseconds(time - seconds).count()};
  return ::ppoll(entries.data(), fds.size(), &limit, nullptr) > 0;
}

}  // namespace airlock::driver
