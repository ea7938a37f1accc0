// SPDX-License-Identifier: Apache-2.0
//
// One client's socket, driven by Asio: moves bytes between it and a Session. Part of the server;
// nothing else includes it, since Asio compiles slowly.
#pragma once

#include <functional>
#include <memory>

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>

#include "base/fd.h"
#include "vfio_user/session.h"
#include "wire/socket.h"

namespace airlock::vfio_user {

/// Lives as long as a callback of Asio's refers to it. One thread.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  struct Events {
    /// The socket is closed and the handler knows. Replies may be outstanding: see pending().
    std::move_only_function<void()> closed;
    /// After closed(): the last outstanding Reply has been given.
    std::move_only_function<void()> settled;
  };

  static Result<std::shared_ptr<Connection>> create(asio::io_context& context, Handler& handler,
                                                    const Session::Options& options, Fd socket,
                                                    Events events);

  /// Starts to serve. Once.
  void start();
  /// Closes at once, without an event.
  void abandon();
  /// Acts on what has arrived and not been read, if the client has closed its end: it is then gone,
  /// unless a Reply is outstanding.
  void notice_hangup();
  /// Whether the client has closed its end.
  [[nodiscard]] bool hung_up();
  [[nodiscard]] bool pending() const { return session_.pending(); }
  /// Closes, with the event. Nothing if closed already.
  void close(const Error& why);

 private:
  Connection(asio::io_context& context, Handler& handler, const Session::Options& options,
             Events events);

  Result<Progress> receive();
  Result<void> flush();
  void run();
  void wait_readable();
  void wait_writable();
  void on_settled();

  asio::io_context& context_;
  asio::posix::stream_descriptor socket_;
  Session session_;
  MessageReader reader_;
  SendQueue queue_;
  Events events_;
  std::shared_ptr<LogLimit> log_limit_;
  bool reading_ = false;  // a wait for more bytes is under way
  bool writing_ = false;  // a wait for room is under way
  bool closed_ = false;
};

}  // namespace airlock::vfio_user
