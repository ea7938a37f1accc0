// SPDX-License-Identifier: Apache-2.0
#include "driver/sysfs_obstacle.h"

#include <cerrno>
#include <filesystem>
#include <system_error>

#include <fmt/core.h>

#include "driver/sysfs_file.h"

namespace airlock::driver {

namespace {

Obstacle held_by_driver(const SysfsTransport::Options& where) {
  std::error_code none;  // a driver that left meanwhile has no name
  const auto link =
      std::filesystem::read_symlink(where.root + "/" + where.address + "/driver", none);
  const std::string name = link.filename().string();
  return {.why = fmt::format("the kernel's driver {} holds it", name.empty() ? "(any)" : name),
          .remedy = fmt::format("echo {} > {}/{}/driver/unbind", where.address, where.root,
                                where.address)};
}

Obstacle forbidden(const SysfsTransport::Options& where) {
  const std::string lockdown = lockdown_of(where.lockdown);
  if (!lockdown.empty()) {
    return {.why = fmt::format("the kernel is locked down ({}), as Secure Boot has it: no program "
                               "may use a PCI device",
                               lockdown),
            .remedy =
                "switch Secure Boot off in this machine's firmware, or load a signed kernel "
                "module instead (kernel/README.md)"};
  }
  return {.why = "the kernel does not permit it",
          .remedy = "run it as root, with all capabilities (not in a container)"};
}

}  // namespace

Obstacle explain_obstacle(const SysfsTransport::Options& where, const Error& error) {
  if (!SysfsTransport::is_address(where.address)) {
    return {.why = fmt::format("'{}' is no PCI address", where.address),
            .remedy = "write it as lspci -D does: pci:0000:00:05.0"};
  }
  if (error.code == Errc::kUnsupported) {
    return {.why =
                "this processor maps a PCI device's memory in a way that ordinary copies must "
                "not touch",
            .remedy = "use the kernel module instead (kernel/README.md)"};
  }
  if (error.code != Errc::kSystem) return {.why = describe(error), .remedy = "see dmesg"};
  switch (static_cast<int>(error.detail)) {
    case ENODEV:
      return {.why = "there is no such device",
              .remedy = "lspci -D -d 1af4: lists the virtio devices"};
    case EBUSY:
      return held_by_driver(where);
    case EACCES:
      return {.why = "only root may use a PCI device", .remedy = "sudo airlock ..."};
    case EPERM:
      return forbidden(where);
    case EINVAL:
      return {.why =
                  "the kernel keeps this device's memory for itself (iomem=strict, or another "
                  "driver claimed it)",
              .remedy = fmt::format("see who has it: grep -A1 {} /proc/iomem", where.address)};
    default:
      return {.why = describe(error), .remedy = "see dmesg"};
  }
}

}  // namespace airlock::driver
