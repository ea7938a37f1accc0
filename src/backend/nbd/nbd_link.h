// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "backend/nbd/nbd_export.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/result.h"

namespace airlock::backend {

/// What the links of a disk share. Outlives them. Any thread; `exported` is written once, before a
/// second thread has a link.
struct NbdServer {
  std::string name;         // for people
  std::string export_name;  // what is asked for
  /// What a driver was told; nothing before the first connection.
  std::optional<NbdExport> exported;
  LogLimit losses;
};

/// One connection to a server, which is made again, without end, when it is lost: after a while
/// that doubles until the server answers a command. Nothing here waits: drive() does what can be
/// done now. One thread at a time.
class NbdLink {
 public:
  /// Before the first attempt after a loss, and between attempts at most.
  static constexpr std::chrono::milliseconds kDelayFirst{20};
  static constexpr std::chrono::milliseconds kDelayMost{2000};
  /// A server that is connected and does not get to the end of the handshake is left.
  static constexpr std::chrono::milliseconds kHandshakeMost{10'000};

  /// `way`: as start_connector() has it. Errors: kSystem.
  static Result<std::unique_ptr<NbdLink>> create(NbdServer& server, Fd way);
  ~NbdLink();
  NbdLink(const NbdLink&) = delete;
  NbdLink& operator=(const NbdLink&) = delete;

  /// Begins to connect, if nothing has yet.
  void start();
  /// Readable when drive() has something to do.
  [[nodiscard]] int fd() const { return events_.get(); }
  /// Does what there is to do. Commands' callbacks are called in here.
  void drive();
  /// To be called when commands were given to handle(): has them sent, as the server takes them.
  void sent() { look(); }

  /// Commands may be given to handle().
  [[nodiscard]] bool ready() const { return state_ == State::kReady; }
  [[nodiscard]] nbd_handle* handle() const { return handle_; }
  /// How often a connection that was ready was lost: what was unanswered on it stays so, and
  /// nothing of it is touched any more.
  [[nodiscard]] std::uint64_t losses() const { return losses_; }
  /// Gives the connection up, as if it were lost.
  void drop(const std::string& why);

  /// Connections that failed or were lost since a command was answered, and why the last one was.
  [[nodiscard]] unsigned failures() const { return failures_; }
  [[nodiscard]] const std::string& why() const { return why_; }

 private:
  enum class State : std::uint8_t {
    kNew,      // nothing has begun
    kResting,  // until the timer
    kAsking,   // the connector is at it
    kShaking,  // connected: the handshake
    kReady,
    kDead,  // the connector is gone
  };

  NbdLink(NbdServer& server, Fd way, Fd events, Fd timer);
  void ask();
  void on_timer();
  void on_answer();
  void on_server(std::uint32_t events);
  void shake_hands(Fd socket);
  /// What libnbd made of the last calls.
  void look();
  void watch();
  void settled();
  void failed(std::string why);
  void end_without_connector();
  void set_timer(std::chrono::milliseconds delay) const;
  void close();

  NbdServer* server_;
  Fd way_;
  Fd events_;  // an epoll
  Fd timer_;
  State state_ = State::kNew;
  nbd_handle* handle_ = nullptr;
  std::uint32_t watched_ = 0;  // of the server's socket
  std::uint64_t losses_ = 0;
  unsigned failures_ = 0;
  std::string why_;
  bool told_ = false;  // of this outage
};

}  // namespace airlock::backend
