// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/dt.h"
#include "cli/option_types.h"

namespace airlock::cli {

struct DtOptions {
  DtPoolOptions pool;
  DtCheckOptions check;
};

/// The options of `airlock dt`. `action` and `options` outlive the command line.
void add_dt(CLI::App& app, Action& action, DtOptions& options);

}  // namespace airlock::cli
