// SPDX-License-Identifier: Apache-2.0
//
// Who makes a disk's connections once the disk itself may make none: a sandbox leaves neither
// sockets nor names of hosts. docs/SANDBOX.md.
#pragma once

#include <expected>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "backend/nbd/nbd_uri.h"
#include "base/fd.h"

namespace airlock::backend {

/// A connection, or why there is none, for a person.
using Connected = std::expected<Fd, std::string>;
using Connect = std::function<Connected()>;

/// Connects to the server's socket or host: gives a host ten seconds for each of its addresses.
/// Blocks. A TCP connection whose other end is silent for half a minute while something is
/// unanswered fails.
[[nodiscard]] Connected connect_to(const NbdAddress& address);

/// Starts a process that runs `connect` whenever it is asked, by one of `count` ways, and passes
/// the connection on. It lasts as long as a way is open. What it can be asked for is a connection
/// to that one place, by whoever holds a way.
/// The process has one thread yet. Errors: kSystem.
[[nodiscard]] Result<std::vector<Fd>> start_connector(const Connect& connect, std::size_t count);

/// Asks for a connection. The way is readable when it can be taken. Errors: kSystem, kPeerClosed
/// (the process is gone).
[[nodiscard]] Result<void> ask_for_connection(const Fd& way);

/// What came of it, without waiting: nothing if that is not known yet. Errors: as above.
[[nodiscard]] Result<std::optional<Connected>> take_connection(const Fd& way);

}  // namespace airlock::backend
