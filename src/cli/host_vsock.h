// SPDX-License-Identifier: Apache-2.0
//
// The host's own AF_VSOCK: vsock(7).
#pragma once

#include <cstdint>

#include "base/fd.h"

namespace airlock::cli {

/// A stream to `port` at `cid`, non-blocking; it takes as long as the system lets a connection
/// take (2 s). Errors: kSystem.
[[nodiscard]] Result<Fd> connect_vsock(std::uint32_t cid, std::uint32_t port);

/// Listens for streams to `port`, whichever of the host's cids they name. Errors: kSystem.
[[nodiscard]] Result<Fd> listen_vsock(std::uint32_t port, int backlog);

}  // namespace airlock::cli
