// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/event_fd.h"
#include "device/vsock/vsock_connection.h"
#include "device/vsock/vsock_connector.h"
#include "device/vsock/vsock_metrics.h"

namespace airlock::device {

/// All connections of a socket device: where its queues and the host's sockets meet.
/// VIRTIO 1.3, 5.10.6.
///
/// The thread of the tx queue brings packets, that of the rx queue asks whose turn it is and brings
/// what the host does; each call locks, none waits, and data is moved outside of the lock or into a
/// bounded buffer. Memory is bounded, whatever either side does: by the number of connections, by
/// what each was granted, and by a list of resets for packets of no connection; while that is full,
/// the guest's packets wait in its ring (5.10.6.1).
class VsockConnections {
 public:
  /// Resets for packets of no connection that wait for the guest to listen.
  static constexpr std::size_t kResetsMost = 256;
  /// Connections of each side that were asked for and not answered.
  static constexpr std::size_t kHalfOpenMost = 256;
  /// Connections whose last bytes the host has not taken when the guest has forgotten them.
  static constexpr std::size_t kLingeringMost = 64;
  /// Names of events below are of no connection.
  static constexpr std::uint64_t kFirstId = 64;

  struct Options {
    std::uint32_t guest_cid = spec::VIRTIO_VSOCK_CID_GUEST_MIN;
    std::size_t most = 10240;             // connections
    VsockConnector* connector = nullptr;  // outlives it
  };
  using Connection = std::shared_ptr<VsockConnection>;

  /// A client of the host that wants to talk to a port of the guest.
  struct Client {
    Fd socket;
    VsockType type = VsockType::kStream;
    std::uint32_t guest_port = 0;
    bool hears_ok = true;  // it is told by a line that the guest has accepted
  };

  /// Something for the guest.
  struct Turn {
    VsockReply reply;
    Connection connection;  // none: a reset for a packet of none
    // With data, which is in the host's socket:
    bool data = false;
    std::uint32_t most = 0;          // bytes that the guest has room for
    std::uint32_t message_at = 0;    // seqpacket: bytes of the message that it has
    std::uint32_t message_most = 0;  // and how long one may be
    std::shared_ptr<const Fd> socket;
  };

  /// Errors: kSystem.
  static Result<std::unique_ptr<VsockConnections>> create(const Options& options);

  /// What was negotiated: types that are in use. Before any packet.
  void configure(bool stream, bool seqpacket);
  /// The driver is gone, and with it all connections.
  void clear();
  [[nodiscard]] VsockCounts counts() const;
  [[nodiscard]] std::uint32_t guest_cid() const { return options_.guest_cid; }

  // For the tx queue.

  /// Whether a packet may be taken; if not, tx_event() is signalled when one may.
  [[nodiscard]] bool ready_for_packet();
  [[nodiscard]] const EventFd& tx_event() const { return tx_event_; }
  /// Does what a packet says. `chain` is where it came from. Never fails: what a guest gets wrong
  /// is answered by a reset, and what is not in its name is dropped.
  void handle(const VsockPacket& packet, const ring::Chain& chain);

  // For the rx queue.

  /// Whether rx_event() is to be signalled when there is something to say: the thread will sleep.
  void want_event(bool wanted);
  [[nodiscard]] const EventFd& rx_event() const { return rx_event_; }
  /// What the guest is to get next. All connections take turns.
  [[nodiscard]] std::optional<Turn> next();
  /// There is no buffer for it: it will be next again.
  void give_back(const Turn& turn);
  /// The socket of a turn with data has nothing.
  void nothing_to_read(const Connection& connection);
  /// It may have more, but this time there was nothing for the guest.
  void look_again(const Connection& connection);
  /// It has come to its end; with `gone` the host takes nothing any more, either.
  void host_ended(const Connection& connection, bool gone);
  /// The guest gets `bytes` of it, and `rest` bytes of the same message next time.
  /// Returns the header that goes with them.
  [[nodiscard]] spec::VirtioVsockHdr data_header(const Turn& turn, std::uint32_t bytes,
                                                 std::uint32_t rest);
  /// Ends a connection in a way that the guest is told of.
  void reset(const Connection& connection);

  // For the host's side, in the thread of the rx queue.

  [[nodiscard]] std::uint64_t new_id() { return next_id_++; }
  /// Brings a client, whose events are named by `id`. False: it can't be, and the socket is closed.
  [[nodiscard]] bool offer(std::uint64_t id, Client client);
  /// The connector has a socket for `id`, or none. Its number, if its events are wanted from now
  /// on.
  [[nodiscard]] std::optional<int> connected(std::uint64_t id, Fd socket);
  /// Epoll's events of the socket `id`.
  void socket_event(std::uint64_t id, std::uint32_t events);
  void drop_client() {
    const std::lock_guard lock(mutex_);
    ++counts_.clients_dropped;
  }

 private:
  struct BufferClass {
    std::uint32_t bytes = 0;
    std::size_t most = 0;
    std::size_t used = 0;
  };

  VsockConnections(const Options& options, EventFd rx_event, EventFd tx_event);

  // All of these under the lock.
  [[nodiscard]] Connection find(VsockPorts ports) const;
  Connection add(std::uint64_t id, VsockPorts ports, VsockType type);
  void remove(const Connection& connection);
  void leave(VsockConnection& connection, VsockConnection::State next);
  void refuse(const VsockPacket& packet);
  void end(const Connection& connection);     // by us: counted
  void finish(const Connection& connection);  // in whatever way
  void begin_from_guest(const VsockPacket& packet);
  void handle_known(const Connection& connection, const VsockPacket& packet,
                    const ring::Chain& chain, std::unique_lock<std::mutex>& lock);
  void handle_response(const Connection& connection);
  void handle_data(const Connection& connection, const VsockPacket& packet,
                   const ring::Chain& chain, std::unique_lock<std::mutex>& lock);
  void handle_reset(const Connection& connection);
  void keep(const Connection& connection, const VsockPacket& packet, const ring::Chain& chain,
            std::uint32_t sent);
  void flush(const Connection& connection);
  void lose_host(const Connection& connection);
  void follow_shutdown(const Connection& connection);
  void activate(const Connection& connection);
  void wake_rx();
  [[nodiscard]] std::optional<Turn> next_reset();
  [[nodiscard]] Turn turn_of(const Connection& connection);

  Options options_;
  EventFd rx_event_;
  EventFd tx_event_;

  mutable std::mutex mutex_;
  bool stream_ = true;
  bool seqpacket_ = false;
  std::unordered_map<std::uint64_t, Connection> by_id_;
  std::unordered_map<std::uint64_t, Connection> by_ports_;
  VsockConnection::Active active_;  // those with something to say, in their turn
  std::deque<VsockReply> resets_;
  bool reset_was_last_ = false;
  bool rx_sleeps_ = false;
  bool tx_waits_ = false;
  std::size_t asking_ = 0;
  std::size_t offered_ = 0;
  std::size_t lingering_ = 0;
  std::uint32_t next_host_port_;
  std::array<BufferClass, 3> buffers_;
  VsockCounts counts_;
  std::atomic<std::uint64_t> next_id_;
  std::vector<shm::SharedBytes> pieces_;  // tx queue's thread only
  std::vector<iovec> vectors_;
};

}  // namespace airlock::device
