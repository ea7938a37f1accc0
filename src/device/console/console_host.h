// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "device/console/console_port.h"
#include "device/wake.h"

namespace airlock::device {

/// The host's side of all ports of a console: one thread between them and their backends, asleep
/// when nothing comes and nothing has room. The control thread makes it and ends it.
class ConsoleHost {
 public:
  using Ports = std::vector<std::unique_ptr<ConsolePort>>;
  /// A port's host end is not what it was. Called on the thread.
  using OnChange = std::function<void(std::uint32_t port, const ConsolePort::Change& change)>;

  /// `ports` and `wake`, which is its ports' too, outlive it.
  ConsoleHost(Ports& ports, Wake& wake, OnChange on_change)
      : ports_(ports), wake_(wake), on_change_(std::move(on_change)) {}
  /// Ends the thread. What guests wrote last is written as far as there is room.
  ~ConsoleHost();
  ConsoleHost(const ConsoleHost&) = delete;
  ConsoleHost& operator=(const ConsoleHost&) = delete;

  /// Starts the thread, unless it runs. Errors: kSystem.
  Result<void> start();

 private:
  void run();
  void serve_all();

  Ports& ports_;
  Wake& wake_;
  OnChange on_change_;
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

}  // namespace airlock::device
