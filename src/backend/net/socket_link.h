// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "backend/net/connector.h"
#include "backend/net/net_counters.h"
#include "backend/net/writable_wake.h"
#include "base/event_fd.h"
#include "base/log.h"

namespace airlock::backend {

/// The socket of a peer that comes and goes, for a thread that receives and one that sends. Losing
/// it, and having the next, is the receiving thread's: whoever waits for receive_fd() learns of
/// both.
class SocketLink {
 public:
  struct Options {
    std::string name;  // for the log
    // NOLINTBEGIN(readability-redundant-member-init): GCC wants one, where a caller leaves it out
    Fd socket = {};  // non-blocking; empty: there is none yet
    // Where the next one comes from, if there is to be one.
    std::unique_ptr<Connector> connector = {};
    Fd listener = {};
    // NOLINTEND(readability-redundant-member-init)
    bool file_peer = false;  // datagrams to a file: who refuses them is gone for good
  };
  /// Before a sandbox. `counters` outlive it. Errors: kSystem.
  static Result<std::unique_ptr<SocketLink>> create(Options options, NetCounters& counters);

  [[nodiscard]] bool up() const { return up_.load(std::memory_order_relaxed); }
  /// As NetBackend::on_link_change().
  void on_change(std::function<void()> changed) { changed_ = std::move(changed); }
  [[nodiscard]] const std::string& name() const { return options_.name; }
  [[nodiscard]] bool has_file_peer() const { return options_.file_peer; }

  // The receiving thread.

  /// The socket, nullptr if there is none now. `anew`: it is not the one that it was last time.
  const Fd* receiving(bool& anew);
  /// The socket is of no use any more, and why.
  void lost(std::string_view why);
  /// Readable when the socket is, or something is to be done about it: receiving() does it.
  [[nodiscard]] int receive_fd() const { return receive_epoll_.get(); }

  // The sending thread.

  /// The same.
  const Fd* sending(bool& anew);
  /// The socket that sending() returned is of no use: the receiving thread is told.
  void report_lost();
  /// Has send_fd() readable when that socket takes more; or no more.
  void wait_writable();
  void stop_waiting() { writable_.disarm(); }
  [[nodiscard]] int send_fd() const { return writable_.fd(); }

 private:
  using Shared = std::shared_ptr<const Fd>;

  SocketLink(Options options, NetCounters& counters, Fd epoll, EventFd event, WritableWake writable)
      : options_(std::move(options)),
        counters_(counters),
        receive_epoll_(std::move(epoll)),
        send_event_(std::move(event)),
        writable_(std::move(writable)) {}

  void install(Fd socket);
  void wait_for_next();
  void share(Shared socket);
  Fd fetch();
  void give_up_connector();
  void watch(int fd) const;
  void unwatch(int fd) const;
  template <class... Args>
  void say(LogLevel level, fmt::format_string<Args...> format, Args&&... args);

  Options options_;
  NetCounters& counters_;
  std::function<void()> changed_;
  LogLimit log_limit_;
  std::atomic<bool> up_{false};
  std::atomic<std::uint64_t> send_failed_{0};  // the sending thread's word: a generation, or none

  std::mutex lock_;  // for the next
  Shared shared_;
  std::atomic<std::uint64_t> generation_{0};  // of shared_

  // The receiving thread's.
  Fd receive_epoll_;
  EventFd send_event_;  // wakes it
  Shared receiving_;
  std::uint64_t receiving_generation_ = 0;

  // The sending thread's.
  WritableWake writable_;
  Shared sending_;
  std::uint64_t sending_generation_ = 0;
};

}  // namespace airlock::backend
