// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "driver/sysfs_transport.h"

namespace airlock::driver {

/// What keeps a program of this machine from a PCI device, for a person.
struct Obstacle {
  std::string why;     // "the kernel's driver virtio-pci holds it"
  std::string remedy;  // the command, or the setting, that changes it
};

/// Explains `error`, with which SysfsTransport::open() or map() refused the device of `where`, by
/// what the machine says of itself now. The files are read once; whatever they say is only text.
Obstacle explain_obstacle(const SysfsTransport::Options& where, const Error& error);

}  // namespace airlock::driver
