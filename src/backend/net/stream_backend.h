// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "backend/net/socket_link.h"

namespace airlock::backend {

struct StreamOptions {
  SocketLink::Options link;
  std::uint16_t mtu = 0;  // that the peer makes use of; 0: not known
};

/// A network behind a stream of frames, each behind its length: QEMU's stream netdev, passt. It has
/// no headers; checksums that a guest left out are completed here. One channel. Before a sandbox.
/// Errors: kSystem.
Result<std::unique_ptr<NetBackend>> make_stream(StreamOptions options);

}  // namespace airlock::backend
