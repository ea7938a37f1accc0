// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "compare/model.h"

namespace airlock::compare {

/// A VMM that is trusted with the guest's memory copies each request into a buffer of its own, of
/// which alone the device is given the file: Firecracker's way. The guest knows of nothing. SYS-13.
extern const Model kVmmCopy;

/// The VMM's process. Errors: the guest's, the rings'.
Result<void> serve_vmm_copy(const Fd& guest, const Controls& controls);

}  // namespace airlock::compare
