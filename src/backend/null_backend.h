// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "backend/block_backend.h"

namespace airlock::backend {

/// A disk without a medium, for measuring what is in front of it: every request succeeds at once,
/// a write is forgotten and a read writes nothing, so that the driver finds in its buffer what it
/// put there. Any number of channels at once. `capacity` in bytes, a multiple of 512, not zero.
std::unique_ptr<BlockBackend> make_null(std::uint64_t capacity, bool read_only);

}  // namespace airlock::backend
