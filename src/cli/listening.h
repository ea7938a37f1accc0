// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/error.h"
#include "cli/outcome.h"

namespace airlock::cli {

/// What a listening socket can fail with, in words for the person who chose its place, `where`.
std::unexpected<Failure> cannot_listen(const std::string& where, const Error& error);

}  // namespace airlock::cli
