// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "compare/model.h"

namespace airlock::compare {

/// Bytes of the disk that every model's device serves: zeros at first, in the device's own memory.
inline constexpr std::uint64_t kDiskBytes = std::uint64_t{16} << 20;

/// The untrusted process: our disk over a memory backend, with the production's queue, request
/// parser and worker, in the sandbox that `airlock serve` has. Serves `guest` until that hangs up.
/// The model says what its window is made of; nothing else differs. Errors: kSystem, the guest's.
Result<void> run_device(Fd guest, const Model& model, const Controls& controls);

}  // namespace airlock::compare
