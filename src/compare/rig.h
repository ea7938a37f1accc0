// SPDX-License-Identifier: Apache-2.0
//
// One model, running: its guest, its device and its trusted part, each a process, at rest until
// they are asked for something.
#pragma once

#include <chrono>
#include <memory>

#include "compare/child.h"
#include "compare/guest_process.h"

namespace airlock::compare {

/// The caller keeps no memory of the guest's: several rigs can stand side by side, and none of
/// their processes has anything of another's. One thread.
class Rig {
 public:
  /// Starts the processes, connects driver and device. The caller has one thread yet. The model
  /// carries such traffic (cannot_carry()). Errors: kSystem; the model's (kUnsupported: the driver
  /// refused the device).
  static Result<std::unique_ptr<Rig>> start(const Model& model, const Controls& controls = {},
                                            Traffic traffic = Traffic::kBlk);

  /// What Workload does under these names, in the guest. Errors: its; kPeerClosed: a process of the
  /// rig is gone.
  Result<void> verify();
  Result<RunResult> run(const Cell& cell, std::chrono::milliseconds time);
  Result<Exposure> expose(std::uint64_t request_bytes, bool write);
  Result<Seen> scan();
  /// The device tries to get at the guest's process by the system's own doors (Reach); which of
  /// them opened, as a mask. Errors: kPeerClosed, where it ended at the attempt.
  Result<std::uint32_t> reach();

  [[nodiscard]] const Model& model() const { return model_; }
  [[nodiscard]] Child& guest() { return guest_; }
  [[nodiscard]] Child& device() { return device_; }
  [[nodiscard]] Child& trusted() { return trusted_; }

 private:
  explicit Rig(const Model& model) : model_(model) {}
  Result<std::unique_ptr<GuestReply>> ask_guest(const GuestRequest& request);

  const Model& model_;
  Fd commander_;
  Child device_;
  Child trusted_;
  Child guest_;
};

}  // namespace airlock::compare
