// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "backend/net/socket_address.h"

namespace airlock::backend {

/// Makes a connected socket, non-blocking and close-on-exec, as often as it is called. It may take
/// some seconds. Errors: kSystem.
using SocketMaker = std::function<Result<Fd>()>;

/// A stream to `remote`.
SocketMaker stream_to(const SocketAddress& remote);

/// Datagrams between `local`, which is bound each time anew, and `remote`, which must be there if
/// it is a file. The file of `local` is replaced if nobody has it any more, or if the maker made
/// it. Errors of the maker: kSystem (EADDRINUSE: somebody has it).
SocketMaker datagrams_between(const SocketAddress& local, const SocketAddress& remote);

/// A listening stream socket at `local`; a file that nobody listens on any more is replaced.
/// Errors: kSystem (EADDRINUSE: somebody does).
Result<Fd> listen_at(const SocketAddress& local);

/// Starts a program with `arguments`, one end of a stream as its descriptor kProgramFd, nothing
/// else open but stderr; for each socket one of its own. It ends when the socket does, if it is
/// passt.
SocketMaker stream_to_program(std::string program, std::vector<std::string> arguments);
inline constexpr int kProgramFd = 3;

}  // namespace airlock::backend
