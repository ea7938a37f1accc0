// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cli/outcome.h"
#include "dt/patch.h"

namespace airlock::cli {

struct DtPoolOptions {
  std::string input;   // a file, or - for a pipe
  std::string output;  // the same
  dt::PoolRequest request;
};

struct DtCheckOptions {
  std::string input;
  bool json = false;
};

/// `airlock dt pool`: writes the tree with a restricted DMA pool in it.
Outcome dt_pool(const DtPoolOptions& options);
/// `airlock dt check`: prints the pools and who gets them; fails if Linux would refuse one.
Outcome dt_check(const DtCheckOptions& options);

}  // namespace airlock::cli
