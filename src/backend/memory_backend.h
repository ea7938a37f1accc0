// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "backend/block_backend.h"
#include "backend/open.h"

namespace airlock::backend {

/// A disk of private memory: zeros at first, gone with the process. Sparse: what was never written,
/// or was discarded, costs nothing. Requests are copies, done in submit(). Any number of channels
/// at once; requests that overlap while in flight mix, as on any disk.
/// `capacity` in bytes, a multiple of 512, not zero. Errors: more than can be mapped.
Opened<std::unique_ptr<BlockBackend>> open_memory(std::uint64_t capacity, bool read_only);

}  // namespace airlock::backend
