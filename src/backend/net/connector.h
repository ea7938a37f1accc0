// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/net/socket_maker.h"

namespace airlock::backend {

/// Makes sockets for a process that will not be allowed to any more: a process of its own, forked
/// before the sandbox, which knows one thing to do, and does it when it is asked. A process that
/// was taken over gets no more of it than that. It ends when this object, or its process, does.
class Connector {
 public:
  /// Starts it. The process has one thread yet, and has nothing open that should not be forked.
  /// Errors: kSystem.
  static Result<Connector> start(const SocketMaker& make);

  /// Makes a socket now, and waits for it. Errors: those of the maker; kPeerClosed (the process is
  /// gone).
  Result<Fd> make();

  /// Asks for a socket, which is made as soon as that succeeds: it tries again, with pauses. Once
  /// until take() gave it. Never blocks.
  void ask();
  /// The socket that was asked for; an empty Fd if it is not there yet. Errors: kPeerClosed.
  Result<Fd> take();
  /// Readable when take() has something to say.
  [[nodiscard]] int fd() const { return way_.get(); }

 private:
  explicit Connector(Fd way) : way_(std::move(way)) {}
  Fd way_;
};

}  // namespace airlock::backend
