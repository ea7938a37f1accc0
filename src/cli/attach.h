// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "cli/outcome.h"
#include "driver/virtio_device.h"

namespace airlock::cli {

struct AttachOptions {
  std::string device;
  std::string export_to;  // nbd:unix:PATH
  std::string plugin;     // for nbdkit; empty: beside this program
  bool read_only = false;
  std::uint64_t ring_features = driver::kRingFeaturesByDefault;  // that the driver may accept
};

/// `airlock attach`: a device, driven by this machine's own user space, exported so that its kernel
/// can use it with modules of its own. Until SIGTERM or SIGINT, which let what is under way end.
Outcome attach(const AttachOptions& options);

}  // namespace airlock::cli
