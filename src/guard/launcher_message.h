// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "base/fd.h"

namespace airlock::guard {

/// What the guard and its launcher say to each other: one packet, with or without an fd.
struct LauncherMessage {
  enum class Kind : std::uint32_t {
    kAsk,     // to the launcher: a connection, if there is an fd with that memory
    kEnd,     // to the launcher: end the device
    kAnswer,  // to the guard: the connection, or why there is none
  };
  struct Wire {
    Kind kind;
    std::uint32_t number;  // of the request, echoed
    std::int32_t error;    // errno; 0: none
  };
  Wire wire{};
  Fd fd;
};

/// Sends it over a seqpacket socket; `fd` (borrowed, -1 for none) goes along.
/// Errors: kPeerClosed, kSystem (EAGAIN: the other end does not read).
Result<void> send_message(int socket, const LauncherMessage::Wire& wire, int fd);
/// Takes the next one; nothing if there is none now.
/// Errors: kPeerClosed, kMalformed, kSystem.
Result<std::optional<LauncherMessage>> receive_message(int socket);

}  // namespace airlock::guard
