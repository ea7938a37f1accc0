// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "compare/model.h"

namespace airlock::compare {

/// What the trusted part of vmm-copy is asked.
struct VmmRequest {
  enum class Kind : std::uint32_t {
    kStart,  // with the private memory, notify and interrupt
    kCounts,
  };
  Kind kind = Kind::kStart;
  // NOLINTNEXTLINE(readability-redundant-member-init): GCC wants it, to be left out where not used
  QueueStart queue{};
  std::uint64_t private_bytes = 0;
};
struct VmmReply {
  Answer answer{};
  QueueStart queue;  // kStart: the device's; with the shared memory, notify and interrupt
  std::uint64_t shared_bytes = 0;
  std::uint64_t high_water_bytes = 0;
  TrustedCounts counts;
};

/// A VMM that is trusted with the guest's memory copies each request into a buffer of its own, of
/// which alone the device is given the file: Firecracker's way. The guest knows of nothing. SYS-13.
extern const Model kVmmCopy;

/// The VMM's process. Errors: the guest's, the ring's.
Result<void> serve_vmm_copy(const Fd& guest, const Controls& controls);

}  // namespace airlock::compare
