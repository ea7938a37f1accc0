// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cli/outcome.h"

namespace airlock::cli {

/// `airlock serve --config FILE`: serves the devices of a configuration until SIGTERM or SIGINT,
/// which drain all of them.
///
/// They are in one process, in one sandbox, with a control thread each. This one, which started it
/// and keeps its rights, hears no peer: at SIGHUP it reads the file again, has the devices end that
/// are gone or have changed, and starts another such process for those that are new or have
/// changed. The others are not disturbed. A file that is wrong changes nothing.
Outcome serve_config(const std::string& file);

}  // namespace airlock::cli
