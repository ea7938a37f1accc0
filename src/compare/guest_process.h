// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "compare/model.h"
#include "compare/workload.h"

namespace airlock::compare {

struct GuestRequest {
  enum class Kind : std::uint32_t {
    kOpen,
    kVerify,
    kRun,
    kExpose,  // `cell` says of what size, and whether it is a write
    kScan,
    kReach,  // have the device try to reach this process by other ways
  };
  Kind kind = Kind::kOpen;
  // NOLINTNEXTLINE(readability-redundant-member-init): GCC wants it, to be left out where not used
  Cell cell{};
  std::uint64_t time_ms = 0;
};
struct GuestReply {
  Answer answer{};
  RunResult run;
  Exposure exposure;
  Seen seen;
  std::uint32_t reached = 0;
};

/// What the guest's process begins with.
struct GuestSockets {
  Fd commander;
  Fd device;
  Fd trusted;  // empty where the model has no trusted part
};

/// The trusted process with the driver and the private memory: does what the commander asks, until
/// that hangs up. Errors: kSystem, the commander's.
Result<void> run_guest(GuestSockets sockets, const Model& model, const Controls& controls,
                       Traffic traffic);

}  // namespace airlock::compare
