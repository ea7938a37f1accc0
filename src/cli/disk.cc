// SPDX-License-Identifier: Apache-2.0
#include "cli/disk.h"

#include <cerrno>
#include <string_view>

#include "driver/sysfs_transport.h"
#include "driver/vfio_user_transport.h"

namespace airlock::cli {

namespace {

constexpr std::string_view kVfioUser = "vfio-user:";
constexpr std::string_view kPci = "pci:";

std::string advice(const Error& error) {
  if (error.code == Errc::kSystem) {
    switch (static_cast<int>(error.detail)) {
      case ENOENT:
      case ECONNREFUSED:
        return "start the device first: airlock serve blk --socket PATH --backend ...";
      case EACCES:
      case EPERM:
        return "run it as a user who may open the device";
      case EBUSY:
        return "unbind its kernel driver first (/sys/bus/pci/devices/ADDRESS/driver/unbind)";
      case ENODEV:
        return "see lspci for the devices that are there";
      default:
        break;
    }
  }
  if (error.code == Errc::kPeerClosed) {
    return "the device takes one client at a time: see whether another one has it";
  }
  return "see the device's log";
}

}  // namespace

std::unexpected<Failure> disk_failed(const std::string& what, const Error& error) {
  return failed(what, describe(error), advice(error));
}

std::expected<Device, Failure> open_device(const std::string& device) {
  Device found;
  if (device.starts_with(kVfioUser)) {
    auto connected = driver::VfioUserTransport::connect({.path = device.substr(kVfioUser.size())});
    if (!connected) return disk_failed(fmt::format("connect to {}", device), connected.error());
    found.server_pid = (*connected)->server_pid();
    found.transport = std::move(*connected);
  } else if (device.starts_with(kPci)) {
    driver::SysfsTransport::Options where;
    where.address = device.substr(kPci.size());
    auto opened = driver::SysfsTransport::open(where);
    if (!opened) return disk_failed(fmt::format("open {}", device), opened.error());
    found.transport = std::move(*opened);
  } else {
    return usage(fmt::format("--device {}", device), "it is neither vfio-user:PATH nor pci:ADDRESS",
                 "try --device vfio-user:/run/disk.sock");
  }
  return found;
}

std::expected<Disk, Failure> open_disk(const std::string& device,
                                       const driver::Blk::Options& options) {
  auto found = open_device(device);
  if (!found) return std::unexpected(found.error());
  Disk disk;
  disk.server_pid = found->server_pid;
  auto blk = driver::Blk::open(std::move(found->transport), options);
  if (!blk) return disk_failed(fmt::format("use {} as a disk", device), blk.error());
  disk.blk = std::move(*blk);
  return disk;
}

}  // namespace airlock::cli
