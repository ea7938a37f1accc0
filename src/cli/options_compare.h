// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/compare.h"
#include "cli/option_types.h"

namespace airlock::cli {

/// The options of `airlock compare`. `options` outlives `app`.
void add_compare(CLI::App& app, Action& action, CompareOptions& options);

}  // namespace airlock::cli
