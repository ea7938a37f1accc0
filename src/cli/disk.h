// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>

#include "cli/outcome.h"
#include "driver/blk.h"

namespace airlock::cli {

/// A disk that a command uses, through our own driver.
struct Disk {
  std::unique_ptr<driver::Blk> blk;
  std::int64_t server_pid = 0;  // of the device process; 0 where there is none on this machine
};

/// A device that --device names, whatever it is.
struct Device {
  std::unique_ptr<driver::PciTransport> transport;
  std::int64_t server_pid = 0;  // as Disk has it
};

/// Reaches what --device names: vfio-user:PATH, or pci:ADDRESS of this machine.
std::expected<Device, Failure> open_device(const std::string& device);
/// The same, and uses it as a disk.
std::expected<Disk, Failure> open_disk(const std::string& device,
                                       const driver::Blk::Options& options);

/// A request of a person's that failed, for a person.
std::unexpected<Failure> disk_failed(const std::string& what, const Error& error);

}  // namespace airlock::cli
