// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "backend/net/socket_link.h"

namespace airlock::backend {

/// A network behind a datagram socket, each datagram a frame: QEMU's dgram netdev. It has no
/// headers; checksums that a guest left out are completed here. One channel. Before a sandbox.
/// Errors: kSystem.
Result<std::unique_ptr<NetBackend>> make_dgram(SocketLink::Options options);

}  // namespace airlock::backend
