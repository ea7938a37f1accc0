// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
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
  std::optional<std::uint32_t> vsock_port;  // of the host, where somebody echoes
};

/// `airlock check`: the conformance suite over one device, a line a check. Fails if one failed.
Outcome check_device(const CheckOptions& options);

}  // namespace airlock::cli
