// SPDX-License-Identifier: Apache-2.0
//
// A connection to a backend, driven by Asio: moves bytes between its sockets and a FrontEnd.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/steady_timer.hpp>

#include "base/fd.h"
#include "vhost_user/connector.h"
#include "vhost_user/dialogue.h"
#include "vhost_user/front_end.h"
#include "vhost_user/message.h"
#include "wire/socket.h"

namespace airlock::vhost_user {

/// Lives as long as a callback of Asio's refers to it. One thread, which settle() alone blocks.
class Link : public std::enable_shared_from_this<Link> {
 public:
  struct Events {
    /// The connection is closed, by either side, and what was asked is not answered any more.
    /// Called once, from the io_context, and not after abandon().
    std::function<void(const Error&)> lost;
    /// The backend says that its configuration changed. May come often.
    std::function<void()> config_changed;
  };
  /// `answer_timeout`: a backend that takes longer for an answer is disconnected.
  static Result<std::shared_ptr<Link>> create(asio::io_context& context, Connection connection,
                                              std::chrono::milliseconds answer_timeout,
                                              Events events);

  /// Starts with the greeting. Once.
  void start(std::uint32_t config_bytes, FrontEnd::OnFacts on_facts);
  /// Where requests are made; flush() sends them.
  [[nodiscard]] FrontEnd& front_end() { return front_end_; }
  void flush();

  /// Waits until every answer is there, without the io_context.
  /// Errors: kTimeout, after which the connection is closed; why it was lost.
  Result<void> settle(std::chrono::milliseconds longest);
  /// Closes without an event.
  void abandon();

 private:
  Link(asio::io_context& context, std::chrono::milliseconds answer_timeout, Events events);

  Result<void> receive();
  Result<void> receive_requests();
  Result<void> send();
  void act(const Result<void>& result);
  void close(const Error& why);
  void shut();
  void wait_readable();
  void wait_channel();
  void wait_writable();
  void watch_time();

  asio::io_context& context_;
  asio::posix::stream_descriptor socket_;
  asio::posix::stream_descriptor channel_;  // our end of what the backend asks by
  asio::steady_timer timer_;
  std::chrono::milliseconds answer_timeout_;
  Events events_;
  Dialogue dialogue_;
  FrontEnd front_end_{dialogue_};
  MessageReader reader_;
  MessageReader channel_reader_;
  vfio_user::SendQueue queue_;
  vfio_user::SendQueue channel_queue_;
  std::uint64_t answers_ = 0;  // so far: a timer that finds more starts again
  Fd backend_channel_;         // until the backend gets it
  bool writing_ = false;       // a wait for room is under way
  bool timing_ = false;        // a wait for time is under way
  bool closed_ = false;
  Error why_{.code = Errc::kPeerClosed};
};

}  // namespace airlock::vhost_user
