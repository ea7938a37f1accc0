// SPDX-License-Identifier: Apache-2.0
#include "device/console/console_host.h"

#include <poll.h>
#include <pthread.h>

#include <system_error>

namespace airlock::device {

namespace {
/// A port's output at the end goes in so many rounds.
constexpr unsigned kLastRounds = 8;
}  // namespace

ConsoleHost::~ConsoleHost() {
  ending_ = true;
  wake_.signal();
  if (thread_.joinable()) thread_.join();
}

Result<void> ConsoleHost::start() {
  if (thread_.joinable()) return {};
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& error) {
    return fail(system_error(error.code().value()));
  }
  return {};
}

void ConsoleHost::run() {
  pthread_setname_np(pthread_self(), "console-host");
  std::vector<pollfd> watches;
  while (!ending_) {
    serve_all();
    watches.assign(1, {.fd = wake_.fd(), .events = POLLIN, .revents = 0});
    for (const auto& port : ports_)
      port->add_watches(watches);
    ::poll(watches.data(), watches.size(), -1);
    static_cast<void>(wake_.take());
  }
  for (unsigned round = 0; round < kLastRounds; ++round)
    serve_all();
}

void ConsoleHost::serve_all() {
  for (std::uint32_t i = 0; i < ports_.size(); ++i) {
    const ConsolePort::Change change = ports_[i]->serve();
    if (change.host || change.size) on_change_(i, change);
  }
}

}  // namespace airlock::device
