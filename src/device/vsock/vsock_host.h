// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "device/vsock/vsock_connections.h"
#include "device/vsock/vsock_connector.h"

namespace airlock::device {

/// Where the host's clients come.
struct VsockListener {
  Fd socket;
  VsockType type = VsockType::kStream;
  /// The guest's port that they all get to, without a word; none: their line says which.
  std::optional<std::uint32_t> port = std::nullopt;
};

/// The host's side of a socket device, in the convention of Firecracker and Cloud Hypervisor: a
/// client connects to a UNIX socket, writes `CONNECT port\n`, and reads `OK port\n` once the guest
/// has accepted; guest connections go to whatever the connector finds. Listeners may also stand for
/// one port of the guest, as those of the host's own AF_VSOCK do.
///
/// For the thread of the rx queue. What a client does costs at most a descriptor: how long its line
/// may be, and how many are at it, is bounded, and the oldest has to make room (ATK-12). While no
/// driver runs, clients wait in the socket's backlog.
class VsockHost {
 public:
  /// Clients that have not said yet where they want to go.
  static constexpr std::size_t kClientsMost = 128;
  /// The longest line there is.
  static constexpr std::string_view kLongestLine = "CONNECT 4294967295\n";

  static constexpr std::size_t kListenersMost = 32;

  struct Options {
    std::vector<VsockListener> listeners;     // kListenersMost at most
    VsockConnections* connections = nullptr;  // these two outlive it
    VsockConnector* connector = nullptr;
  };

  /// Makes the listeners non-blocking. Errors: kSystem.
  static Result<std::unique_ptr<VsockHost>> create(Options options);
  ~VsockHost() = default;
  VsockHost(const VsockHost&) = delete;
  VsockHost& operator=(const VsockHost&) = delete;

  /// Readable when there is something for poll(), which then says so once.
  [[nodiscard]] int fd() const { return epoll_.get(); }
  /// Takes what happened, a bounded batch; true if anything had.
  bool poll();

 private:
  struct Client {
    Fd socket;
    VsockType type = VsockType::kStream;
  };
  struct Door {
    VsockListener listener;
    bool ready = false;  // somebody may wait
  };

  VsockHost(Options options, Fd epoll);
  [[nodiscard]] Result<void> watch(int fd, std::uint64_t id, std::uint32_t events) const;
  bool accept(Door& door);
  void take_answers();
  void read_line(std::uint64_t id);
  void drop(std::uint64_t id);

  std::vector<Door> doors_;
  VsockConnections& connections_;
  VsockConnector& connector_;
  Fd epoll_;
  bool answers_ = true;                      // may be there
  std::map<std::uint64_t, Client> clients_;  // oldest first
};

/// The port of a client's line, with its end; nothing if it is no such line.
[[nodiscard]] std::optional<std::uint32_t> parse_connect_line(std::string_view line);

}  // namespace airlock::device
