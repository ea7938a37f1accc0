// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "cli/outcome.h"

namespace airlock::cli {

struct CheckOptions {
  std::string device;             // vfio-user:PATH or pci:ADDRESS; not needed to list
  std::vector<std::string> only;  // ids; empty: all
  bool list = false;
  bool destructive = false;  // may write to the disk
  bool json = false;
};

/// `airlock check`: the conformance suite over one device, a line a check. Fails if one failed.
Outcome check_device(const CheckOptions& options);

}  // namespace airlock::cli
