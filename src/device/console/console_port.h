// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "backend/port_backend.h"
#include "device/console/byte_fifo.h"
#include "device/wake.h"

namespace airlock::device {

/// What went through a port so far. Plain numbers, in bytes.
struct ConsolePortCounts {
  std::uint64_t to_guest = 0;
  std::uint64_t from_guest = 0;
  std::uint64_t dropped = 0;  // of from_guest: nobody was there, or a console's reader was slow
  std::uint64_t connections = 0;

  friend bool operator==(const ConsolePortCounts&, const ConsolePortCounts&) = default;
};

/// One port, between its two queues and the host's end: two short stretches of private memory, so
/// that neither side ever waits for the other.
///
/// From the guest: while somebody is there a port takes no more than there is room for, and the
/// rest waits in the guest. The console alone takes everything, and drops what its reader is too
/// slow for: Linux writes to it with a spinlock held, and would stand still. While nobody is there
/// everything is dropped.
/// From the host: bytes are fetched only while the guest has the port open.
///
/// Its queues' threads, the host's thread (below) and the control thread use it at once.
class ConsolePort {
 public:
  static constexpr std::size_t kInputBytes = 65536;
  static constexpr std::size_t kOutputBytes = 65536;
  struct Options {
    std::string name;
    bool is_console = false;
    std::unique_ptr<backend::PortBackend> backend;
  };
  /// What serve() found to be different.
  struct Change {
    bool host = false;  // somebody came or went: connected() and `anew` say
    bool anew = false;
    bool size = false;  // window_size()
  };

  /// `host` is what the host's thread waits for; it outlives the port. Errors: kSystem.
  static Result<std::unique_ptr<ConsolePort>> create(Options options, Wake& host);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] bool is_console() const { return is_console_; }

  // --- the guest's side: its queues' threads ---

  /// Signalled when there is input for who found none, and when there is room for who found none.
  [[nodiscard]] Wake& input_wake() { return input_wake_; }
  [[nodiscard]] Wake& room_wake() { return room_wake_; }
  [[nodiscard]] bool has_input() const;
  /// Takes what came from the host; how many bytes.
  std::size_t take_input(std::span<std::byte> target);
  [[nodiscard]] bool takes_output() const;
  /// How much of `source` is taken, from its start on.
  std::size_t put_output(std::span<const std::byte> source);
  /// Closed: what came for it is forgotten; what it sent is on its way.
  void set_guest_open(bool open);

  // --- the host's side: its thread, and before that starts whoever made it ---

  /// Appends what to wait for.
  void add_watches(std::vector<pollfd>& target) const;
  /// One round: who is there, and some bytes each way.
  Change serve();
  [[nodiscard]] bool connected() const;
  [[nodiscard]] backend::WindowSize window_size() const { return size_; }
  [[nodiscard]] const backend::PortBackend& backend() const { return *backend_; }

  /// Any thread.
  [[nodiscard]] ConsolePortCounts counts() const;

 private:
  ConsolePort(Options options, Wake& host, Wake input, Wake room);
  [[nodiscard]] backend::PortInterest interest() const;
  void notice_host(Change& change);
  void fetch_input();
  void send_output();
  [[nodiscard]] bool drops() const { return !connected_ || is_console_; }

  const std::string name_;
  const bool is_console_;
  Wake& host_wake_;
  Wake input_wake_;
  Wake room_wake_;
  const std::unique_ptr<backend::PortBackend> backend_;  // the host's thread's
  std::vector<std::byte> piece_;                         // the same
  backend::WindowSize size_;                             // the same

  mutable std::mutex lock_;  // for what follows
  ByteFifo input_;
  ByteFifo output_;  // only the host's side takes anything out of it
  bool guest_open_ = false;
  bool connected_ = false;
  std::uint64_t connections_ = 0;
  ConsolePortCounts counts_;
};

}  // namespace airlock::device
