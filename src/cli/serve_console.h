// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "cli/outcome.h"
#include "cli/serve_options.h"

namespace airlock::cli {

struct ServeConsoleOptions {
  ServeOptions serve;
  std::string backend;             // of a console that is the only port; or empty, and
  std::vector<std::string> ports;  // NAME=BACKEND, the first is the console
};

/// `airlock serve console`: serves a console and other ports on one socket until SIGTERM or SIGINT.
/// Backends: see backend::open_port().
Outcome serve_console(const ServeConsoleOptions& options);

}  // namespace airlock::cli
