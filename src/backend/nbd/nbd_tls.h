// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/nbd/nbd_connector.h"
#include "backend/nbd/nbd_uri.h"

namespace airlock::backend {

/// Connects as connect_to() does, has the server begin TLS, and starts a process that passes on
/// what comes, so that what is returned speaks NBD from its beginning, without TLS. So neither keys
/// nor what a server's certificate is made of are in the process that a guest talks to, and the
/// files that they are in are read anew for each connection, where there are still paths.
///
/// The process locks itself in once it is connected, and ends with either of its two ends.
[[nodiscard]] Connected connect_tls(const NbdAddress& address);

}  // namespace airlock::backend
