// SPDX-License-Identifier: Apache-2.0
//
// A backend that may die and come back: one connection at a time, made anew for as long as it
// takes.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/steady_timer.hpp>

#include "base/log.h"
#include "vhost_user/connector.h"
#include "vhost_user/link.h"

namespace airlock::vhost_user {

/// Control thread, which connect_now() and settle() alone block.
class BackendKeeper {
 public:
  struct Events {
    /// A backend is there and has said what it is. An error sends it away again.
    std::function<Result<void>(const Facts&)> connected;
    /// It is gone. Not called for one that connected() sent away.
    std::function<void()> lost;
    /// Its configuration was read anew.
    std::function<void()> config_changed;
  };
  struct Options {
    std::uint32_t config_bytes = 0;  // of device configuration that it keeps
    std::chrono::milliseconds answer_timeout{20'000};
    std::chrono::milliseconds retry_first{5};  // doubled each time, up to
    std::chrono::milliseconds retry_longest{1000};
  };
  struct Stats {
    std::uint64_t connections = 0;  // that got as far as connected()
    std::uint64_t losses = 0;       // of those
  };

  BackendKeeper(asio::io_context& context, Connector connector, Options options, Events events);
  ~BackendKeeper();
  BackendKeeper(const BackendKeeper&) = delete;
  BackendKeeper& operator=(const BackendKeeper&) = delete;

  /// The first connection: waits until connected() was called, at most `longest`.
  /// Errors: kSystem (connect()'s), kTimeout, kPeerClosed, kMalformed, connected()'s.
  Result<void> connect_now(std::chrono::milliseconds longest);

  /// The same without waiting: from then on a connection is tried for until there is one.
  void begin();

  /// Where requests to the backend are made; null if none is there. flush() sends them.
  [[nodiscard]] FrontEnd* front_end();
  void flush();
  /// Waits for all answers. On an error, and without a backend, they will not come.
  bool settle(std::chrono::milliseconds longest);
  /// Closes the connection, without lost(), and goes for another.
  void renew();

  /// Whether one is there.
  [[nodiscard]] bool connected() const { return greeted_; }
  [[nodiscard]] const Stats& stats() const { return stats_; }

 private:
  Result<void> open(Connection connection);
  Result<void> on_facts(const Facts& facts);
  void on_lost(const Error& why);
  bool forget_link();
  void on_config_changed();
  void read_config();
  void retry_later();
  Result<void> watch_connector();
  void ask();
  void wait_connector();
  void give_up();

  asio::steady_timer retry_;
  asio::posix::stream_descriptor connector_wait_;
  asio::io_context& context_;
  Connector connector_;
  Options options_;
  Events events_;
  std::shared_ptr<Link> link_;
  bool greeted_ = false;         // link_ has said what it is
  bool reading_config_ = false;  // an answer with the configuration is due
  bool config_stale_ = false;    // and will be old when it comes
  std::chrono::milliseconds delay_;
  std::chrono::steady_clock::time_point since_;  // link_ is greeted
  Stats stats_;
  LogLimit log_limit_;
};

}  // namespace airlock::vhost_user
