// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "compare/model.h"

namespace airlock::compare {

/// Platform sharing, the way of SEV: private memory is unreadable to the host; a guest takes only
/// devices that use the platform's DMA API, whose coherent memory and pool were made shared at the
/// start. SYS-5.
extern const Model kShared;

/// How much of a guest's RAM Linux shares for the pool: 6 %, 64 MiB at least and 1 GiB at most.
[[nodiscard]] std::uint64_t shared_pool_bytes(std::uint64_t ram_bytes);

}  // namespace airlock::compare
