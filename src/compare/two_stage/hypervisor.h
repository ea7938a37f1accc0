// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "compare/message.h"
#include "compare/two_stage/hardware.h"

namespace airlock::compare {

/// What a hypervisor is asked: traps of the guest's, and accesses that its emulated device makes.
struct HypervisorRequest {
  enum class Kind : std::uint32_t {
    kFlush,   // the guest's write to the invalidation queue trapped
    kAccess,  // the emulated device is to access memory
  };
  Kind kind = Kind::kFlush;
  DeviceAccess access{};  // kFlush: its address alone
};
struct HypervisorReply {
  Answer answer{};
  std::uint64_t value = 0;
};

/// A hypervisor with an emulated device: software, which has to translate as hardware does, and
/// keeps what it found. Of an invalidation it hears only if that traps; it then forgets, and passes
/// it on to the hardware. Until the guest hangs up. Errors: the guest's.
Result<void> serve_hypervisor(const Fd& guest, TranslatingPort emulated, Hardware& hardware);

}  // namespace airlock::compare
