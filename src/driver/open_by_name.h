// SPDX-License-Identifier: Apache-2.0
//
// From the name that a person gave a device to the device, or to what that person can do about it.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>

#include "driver/blk.h"

namespace airlock::driver {

/// Why a device that a person named can't be used.
struct OpenError {
  bool misnamed = false;  // the name makes no sense, whatever devices there are
  std::string what;       // "open pci:0000:00:05.0"
  std::string why;        // "the kernel's driver virtio-pci holds it"
  std::string advice;     // the command that changes it
};

template <class T>
using Opened = std::expected<T, OpenError>;

struct OpenedDevice {
  std::unique_ptr<PciTransport> transport;
  std::int64_t server_pid = 0;  // of the device process; 0 where there is none on this machine
};

struct OpenedDisk {
  std::unique_ptr<Blk> blk;
  std::int64_t server_pid = 0;  // as OpenedDevice has it
};

/// Reaches what `name` names: vfio-user:PATH, or pci:ADDRESS of this machine; or
/// vfio-user[+huge-pages][+doorbells]:PATH, whose server is trusted (VfioUserTransport::Trust) not
/// to take huge pages away, and not to have us wait for room in its eventfds.
Opened<OpenedDevice> open_by_name(const std::string& name);
/// The same, and uses it as a disk.
Opened<OpenedDisk> open_disk_by_name(const std::string& name, const Blk::Options& options);

/// What a person can do about an error of a device in use.
std::string advice_on(const Error& error);

}  // namespace airlock::driver
