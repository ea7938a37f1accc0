// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/outcome.h"

namespace airlock::cli {

/// Parses the command line and runs the command it names. Help goes to stdout and succeeds;
/// anything wrong comes back as a Failure with status 2.
Outcome run_command_line(int argc, char** argv);

}  // namespace airlock::cli
