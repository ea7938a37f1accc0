// SPDX-License-Identifier: Apache-2.0
//
// The vfio-user server: one device, one client at a time, on a UNIX socket. It has no way to read
// or write guest memory: nothing in it can send a DMA_READ or a DMA_WRITE.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/fd.h"
#include "vfio_user/handler.h"

namespace asio {
class io_context;  // NOLINT(readability-identifier-naming): Asio names it
}

namespace airlock::vfio_user {

/// Serves one Handler until it is closed or destroyed. Movable. All of it, and the handler, runs on
/// the one thread that runs the io_context.
class Server {
 public:
  struct Options {
    /// Where to make the socket. A socket file that nobody listens on is replaced; anything else
    /// there is left alone and an error. Removed at close.
    // NOLINTNEXTLINE(readability-redundant-member-init): for GCC, where only `socket` is given
    std::string path = {};
    /// Or, instead of a path, a socket from whoever started the process (--fd): listening, or
    /// already connected to the one and only client.
    // NOLINTNEXTLINE(readability-redundant-member-init): likewise for `path`
    Fd socket = {};
    std::uint32_t max_data_xfer_size = 1U << 20U;  // bytes in one access; at most 64 MiB
    std::uint32_t max_msg_fds = 8;                 // in one message; 1 to 16
  };

  /// Starts to listen; clients are served as `context` runs. `context` and `handler` outlive the
  /// server.
  /// Errors: kSystem (ENAMETOOLONG: the path does not fit a socket address; EADDRINUSE: a live
  /// server is there; ENOTSOCK: the path is something else), kOutOfRange (an option),
  /// kWrongState (neither or both of path and socket).
  static Result<Server> listen(asio::io_context& context, Handler& handler, Options options);

  ~Server();
  Server(Server&&) noexcept;
  Server& operator=(Server&&) noexcept;
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Stops listening, removes the socket file, drops the client (the handler hears disconnected()).
  /// Must not be called from inside a Handler function. Idempotent.
  void close();

  /// Whether a client is connected.
  [[nodiscard]] bool connected() const;

 private:
  class Impl;
  explicit Server(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace airlock::vfio_user
