// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "cli/outcome.h"

namespace airlock::cli {

struct GuardOptions {
  std::string listen;   // the socket that the VMM connects to
  std::string connect;  // one that a device serves; or
  std::string exec;     // a command that starts one, with {socket} in it
  std::string policy = "bounce";
  std::string audit;  // file for JSON lines; empty: none
  std::chrono::microseconds answer_within{80'000};
  std::chrono::microseconds hang_limit{30'000'000};
  std::uint32_t restart_limit = 5;  // in ten seconds; 0: no restarts
  bool sandbox = true;
  bool explain = false;
  bool self_test = false;
};

/// `airlock guard`: stands between a VMM and a device until SIGTERM or SIGINT.
Outcome guard(const GuardOptions& options);

}  // namespace airlock::cli
