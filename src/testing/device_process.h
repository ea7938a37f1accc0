// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/fd.h"

namespace airlock::testing {

/// A process that serves a device, started as a guard starts it: docs/RESTART.md. It can only be
/// killed. What can't be had stops the test (CHECK).
class DeviceProcess {
 public:
  struct Passed {
    int state = -1;   // airlock-state; -1: none
    int region = -1;  // airlock-region; -1: none
  };
  /// `command` without the socket: that is connected already, and its other end is socket().
  DeviceProcess(const std::vector<std::string>& command, const Passed& passed);
  ~DeviceProcess() { kill(); }
  DeviceProcess(const DeviceProcess&) = delete;
  DeviceProcess& operator=(const DeviceProcess&) = delete;

  /// The one client's end; to be taken.
  [[nodiscard]] Fd take_socket() { return std::move(socket_); }
  /// SIGKILL; returns when nothing of the process is left but what the kernel does for it. Its
  /// status as waitpid() has it, 0 if it was killed before.
  int kill();

 private:
  Fd socket_;
  pid_t pid_ = -1;
};

}  // namespace airlock::testing
