// SPDX-License-Identifier: Apache-2.0
//
// The way to a backend's socket, for a process that has no paths any more.
#pragma once

#include <optional>
#include <string>

#include "base/fd.h"

namespace airlock::vhost_user {

/// A connection to a backend, and a channel for what the backend may ask.
struct Connection {
  Fd socket;
  Fd channel;          // our end
  Fd backend_channel;  // the one that the backend is sent

  explicit operator bool() const { return static_cast<bool>(socket); }
};

/// A process that connects to one UNIX socket whenever it is asked to, and hands the connection
/// over: making sockets is nothing that the server itself can do. It has nothing else open, hears
/// nothing but "again", and knows no other path.
class Connector {
 public:
  /// Starts it, for the socket at `path`. The process has one thread yet, and has nothing open that
  /// should not be forked. Errors: kSystem (ENAMETOOLONG, ENOENT: no path that a socket can have).
  static Result<Connector> start(const std::string& path);
  /// For tests, which play that process: the other end of `way` gets a byte, and sends back an
  /// errno, with the fds of a Connection if it is 0.
  explicit Connector(Fd way) : way_(std::move(way)) {}

  Connector() = default;

  /// Asks for a connection. Nothing if one was asked for and not taken yet. Errors: kSystem.
  Result<void> ask();
  /// Readable when take() has something to say.
  [[nodiscard]] int fd() const { return way_.get(); }
  /// The connection; an empty one while it is not there yet. Does not block.
  /// Errors: kSystem: the errno of connect(); kPeerClosed: the process is gone.
  Result<Connection> take();
  /// Waits for it. For the start, when nobody else waits.
  Result<Connection> connect();

 private:
  Fd way_;
  bool asked_ = false;
};

}  // namespace airlock::vhost_user
