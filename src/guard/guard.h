// SPDX-License-Identifier: Apache-2.0
//
// The guard: owns the socket that the VMM connects to, and stands between it and the device.
#pragma once

#include <memory>

#include "guard/audit.h"
#include "guard/device.h"
#include "guard/device_source.h"
#include "guard/poller.h"
#include "guard/vm_session.h"
#include "wire/listener.h"

namespace airlock::guard {

/// Serves one VM after another, one at a time. One thread.
class Guard {
 public:
  /// `source` and `audit` outlive it; `lifeline` (borrowed) becomes readable, or ends, when it is
  /// to stop.
  static Result<std::unique_ptr<Guard>> create(const Device::Options& options,
                                               vfio_user::Listener listener, DeviceSource& source,
                                               Audit& audit, int lifeline);

  /// Until the lifeline says so. Errors: kSystem.
  Result<void> run();

 private:
  Guard(const Device::Options& options, vfio_user::Listener listener, DeviceSource& source,
        Audit& audit, std::unique_ptr<Poller> poller);
  Result<void> watch(int lifeline);
  void accept();

  Device::Options options_;
  vfio_user::Listener listener_;
  DeviceSource& source_;
  Audit& audit_;
  std::unique_ptr<Poller> poller_;
  Poller::Watch listener_watch_;
  Poller::Watch lifeline_watch_;
  bool stopped_ = false;
  bool vm_ended_ = false;
  std::unique_ptr<VmSession> vm_;
};

}  // namespace airlock::guard
