// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/fd.h"
#include "cli/config_file.h"

namespace airlock::cli {

/// A process that serves some devices of a configuration, as its parent has it. Ended by the
/// parent; ends itself when none of its devices is left.
class DeviceGroup {
 public:
  /// Forks. The process has one thread. Errors: kSystem.
  static Result<DeviceGroup> start(std::vector<DeviceConfig> devices, bool sandbox);

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] const std::vector<DeviceConfig>& devices() const { return devices_; }

  /// Waits until all of its devices are served, or one of them can't be: then the process ends.
  [[nodiscard]] Outcome wait_until_ready() const;
  /// Ends one device, by its name, and waits until its socket is gone: no longer its.
  void end(const std::string& name);

 private:
  DeviceGroup(pid_t pid, Fd way, std::vector<DeviceConfig> devices)
      : pid_(pid), way_(std::move(way)), devices_(std::move(devices)) {}

  pid_t pid_;
  Fd way_;  // messages of one word
  std::vector<DeviceConfig> devices_;
};

}  // namespace airlock::cli
