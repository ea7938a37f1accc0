// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "driver/vsock_link.h"
#include "driver/vsock_socket.h"

namespace airlock::driver {

/// A virtio socket device, driven so that a hostile one can do no more than not deliver.
/// VIRTIO 1.3, 5.10.
///
///     auto vsock = TRY(Vsock::open(TRY(VfioUserTransport::connect({.path = path})), {}));
///     const auto socket = TRY(vsock->connect(5000, SocketType::kStream));
///     TRY(vsock->send(socket, bytes));
///     const auto received = TRY(vsock->receive(socket, buffer));
///
/// Everything is done inside of these calls, those on other sockets too: there is no thread. One
/// thread at a time. Memory is bounded: sockets_max of buffer_bytes each.
class Vsock {
 public:
  using Timeout = std::chrono::milliseconds;

  struct Options {
    VsockLink::Limits link{};
    std::uint32_t buffer_bytes = 128U << 10U;  // that a peer may have under way to a socket
    std::size_t sockets_max = 1024;            // those that wait to be accepted, too
    std::size_t backlog_max = 128;             // of a listening port
    Timeout timeout{30'000};                   // of every call that waits
    VirtioDevice::Options device{};            // device_type and features are filled in here
  };
  /// What a call of receive() gave. Neither bytes nor `end`: the timeout is an error.
  struct Received {
    std::size_t bytes = 0;          // in the target
    std::size_t message_bytes = 0;  // seqpacket: of the whole message, the rest of which is lost
    bool end = false;               // the peer sends no more
  };

  /// Errors: those of VirtioDevice; kMalformed (a reserved context id).
  static Result<std::unique_ptr<Vsock>> open(std::unique_ptr<PciTransport> transport,
                                             const Options& options);
  /// Resets the device.
  ~Vsock();
  Vsock(const Vsock&) = delete;
  Vsock& operator=(const Vsock&) = delete;

  [[nodiscard]] std::uint32_t cid() const { return cid_; }
  [[nodiscard]] VirtioDevice& device() { return *device_; }
  [[nodiscard]] std::size_t socket_count() const { return sockets_.size(); }

  // Errors of all: kTimeout; those that broke the device, for good. Of those that take a socket:
  // kBadHandle (there is none), kPeerClosed (reset by the peer, or ended by a lie of its).

  /// Connects to a port of the host. Errors: kPeerClosed (refused), kQueueFull (sockets_max),
  /// kNotSupportedByDevice (no such type). VIRTIO 1.3, 5.10.6.5.
  Result<SocketId> connect(std::uint32_t port, SocketType type);
  /// From now on peers may connect to `port`. Errors: kAlreadyInFlight (somebody listens there).
  Result<void> listen(std::uint32_t port, SocketType type);
  /// The next of those that did. Errors: kBadHandle (nobody listens there).
  Result<SocketId> accept(std::uint32_t port, SocketType type);
  /// Sends all of it; of seqpacket it is one message. Errors: kWrongState (shut down), kTooLarge
  /// (a message that the peer can't take). After kTimeout, part of it may have been sent, and the
  /// socket is reset.
  Result<void> send(SocketId id, std::span<const std::byte> source);
  /// Waits for bytes, or a message, or the end. With `peek` they are not taken.
  Result<Received> receive(SocketId id, std::span<std::byte> target, bool peek = false);
  /// Sends no more, receives no more (VIRTIO_VSOCK_SHUTDOWN_*, as a mask).
  Result<void> shutdown(SocketId id, std::uint32_t flags);
  /// Gives the socket up. What was sent still arrives, as long as this lives: see wait_closed().
  Result<void> close(SocketId id);
  /// Waits until the peers of all sockets that were closed have taken everything, and answered.
  Result<void> wait_closed();
  /// Gives it up at once.
  Result<void> reset(SocketId id);

 private:
  using Ports = std::pair<std::uint32_t, std::uint32_t>;  // ours, the peer's
  using Header = spec::VirtioVsockHdr;
  struct Listener {
    std::vector<SocketId> waiting;
  };

  Vsock(std::unique_ptr<VirtioDevice> device, const Options& options)
      : device_(std::move(device)), link_(*device_, options.link), options_(options) {}
  Result<void> read_cid();
  Result<VsockSocket*> find(SocketId id);
  SocketId add(const Ports& ports, SocketType type, VsockSocket::State state);
  void remove(SocketId id);
  [[nodiscard]] std::optional<std::uint32_t> free_port() const;
  [[nodiscard]] bool has_type(SocketType type) const;

  /// Takes what the device has, and says what is due. True if anything came.
  Result<bool> process();
  /// Does so until `done` or the deadline.
  template <class Done>
  Result<void> until(const Done& done);
  Result<void> take(const VsockLink::Packet& packet);
  Result<void> take_known(SocketId id, VsockSocket& socket, const VsockLink::Packet& packet);
  void take_data(VsockSocket& socket, const VsockLink::Packet& packet);
  void take_request(const VsockLink::Packet& packet);
  void refuse(const Header& header);
  void lose_all();
  Result<void> say_due();
  Result<void> say_due_of(SocketId id);
  Result<void> say(VsockSocket& socket, std::uint16_t op, std::uint32_t flags,
                   std::span<const std::byte> payload);
  void due(SocketId id, VsockSocket& socket);
  [[nodiscard]] Header header_of(VsockSocket& socket, std::uint16_t op, std::uint32_t flags,
                                 std::size_t bytes) const;

  std::unique_ptr<VirtioDevice> device_;
  VsockLink link_;
  Options options_;
  std::uint32_t cid_ = 0;
  std::map<SocketId, VsockSocket> sockets_;
  std::map<Ports, SocketId> by_ports_;
  std::map<std::pair<std::uint32_t, SocketType>, Listener> listeners_;
  Fifo<SocketId> due_;     // with something to say, each once
  Fifo<Header> refusals_;  // a bounded number
  std::uint64_t next_id_ = 1;
};

}  // namespace airlock::driver
