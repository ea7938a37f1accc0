// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <string>

#include "cli/outcome.h"
#include "driver/open_by_name.h"

namespace airlock::cli {

/// A disk, and any device, that a command uses through our own driver.
using Disk = driver::OpenedDisk;
using Device = driver::OpenedDevice;

/// As driver::open_by_name() and open_disk_by_name(): what --device names.
std::expected<Device, Failure> open_device(const std::string& device);
std::expected<Disk, Failure> open_disk(const std::string& device,
                                       const driver::Blk::Options& options);

/// A request of a person's that failed, for a person.
std::unexpected<Failure> disk_failed(const std::string& what, const Error& error);

}  // namespace airlock::cli
