// SPDX-License-Identifier: Apache-2.0
//
// What the guest's packets do to connections. VIRTIO 1.3, 5.10.6.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "base/check.h"
#include "device/vsock/vsock_connections.h"

namespace airlock::device {

namespace {

using State = VsockConnection::State;
using spec::VIRTIO_VSOCK_SHUTDOWN_BOTH;
using spec::VIRTIO_VSOCK_SHUTDOWN_RCV;
using spec::VIRTIO_VSOCK_SHUTDOWN_SEND;

/// What one system call takes (IOV_MAX).
constexpr std::size_t kVectorsMost = 1024;

}  // namespace

bool VsockConnections::ready_for_packet() {
  const std::lock_guard lock(mutex_);
  if (resets_.size() < kResetsMost) return true;
  tx_waits_ = true;
  return false;
}

void VsockConnections::refuse(const VsockPacket& packet) {
  // Never a reset for a reset: two ends could go on for ever.
  if (packet.op == spec::VIRTIO_VSOCK_OP_RST) return;
  ++counts_.refused;
  resets_.push_back({.ports = packet.ports,
                     .type = packet.raw_type,
                     .op = spec::VIRTIO_VSOCK_OP_RST,
                     .grant = {},
                     .source_cid = packet.target_cid});
  wake_rx();
}

void VsockConnections::handle(const VsockPacket& packet, const ring::Chain& chain) {
  std::unique_lock lock(mutex_);
  ++counts_.packets_to_host;
  // 5.10.6.4.1: the guest's cid is its source. There is nobody to send an answer to.
  if (packet.source_cid != options_.guest_cid) {
    ++counts_.foreign;
    return;
  }
  const bool in_use = (packet.type == VsockType::kStream && stream_) ||
                      (packet.type == VsockType::kSeqpacket && seqpacket_);
  // 5.10.6.4.2: an unknown type is answered by a reset.
  if (!in_use || packet.target_cid != spec::VIRTIO_VSOCK_CID_HOST) {
    refuse(packet);
    return;
  }
  const Connection connection = find(packet.ports);
  if (connection == nullptr) {
    if (packet.op == spec::VIRTIO_VSOCK_OP_REQUEST) {
      begin_from_guest(packet);
    } else {
      refuse(packet);
    }
    return;
  }
  if (connection->type != packet.type) {
    refuse(packet);
    return;
  }
  handle_known(connection, packet, chain, lock);
}

// 5.10.6.5: a reset where the destination has insufficient resources.
void VsockConnections::begin_from_guest(const VsockPacket& packet) {
  if (by_id_.size() >= options_.most || asking_ >= kHalfOpenMost) {
    refuse(packet);
    return;
  }
  const std::uint64_t id = new_id();
  if (!options_.connector->ask(id, packet.ports.host, packet.type)) {
    refuse(packet);
    return;
  }
  const Connection connection = add(id, packet.ports, packet.type);
  connection->credit.peer_says(packet.grant);
  ++asking_;
  ++counts_.from_guest;
}

void VsockConnections::handle_known(const Connection& connection, const VsockPacket& packet,
                                    const ring::Chain& chain, std::unique_lock<std::mutex>& lock) {
  if (packet.op == spec::VIRTIO_VSOCK_OP_RST) {
    handle_reset(connection);
    return;
  }
  if (connection->state == State::kReset) return;  // as it will hear
  connection->credit.peer_says(packet.grant);
  if (connection->credit.free() > 0) connection->asked_credit = false;
  const bool open = connection->state == State::kOpen;
  switch (packet.op) {
    case spec::VIRTIO_VSOCK_OP_RESPONSE:
      handle_response(connection);
      break;
    case spec::VIRTIO_VSOCK_OP_RW:
      handle_data(connection, packet, chain, lock);
      break;
    case spec::VIRTIO_VSOCK_OP_CREDIT_UPDATE:
      if (!open) end(connection);
      break;
    case spec::VIRTIO_VSOCK_OP_CREDIT_REQUEST:
      if (!open) end(connection);
      connection->say_credit = true;
      break;
    case spec::VIRTIO_VSOCK_OP_SHUTDOWN:
      if (!open) {
        end(connection);
        break;
      }
      connection->guest_shut |= packet.flags & VIRTIO_VSOCK_SHUTDOWN_BOTH;
      follow_shutdown(connection);
      break;
    default:
      end(connection);  // a second request, or no operation that there is
      break;
  }
  activate(connection);
}

void VsockConnections::handle_response(const Connection& connection) {
  if (connection->state != State::kOffered) {
    end(connection);
    return;
  }
  leave(*connection, State::kOpen);
  connection->readable = true;
  if (!connection->hears_ok) return;
  std::string line = "OK " + std::to_string(connection->ports.host) + "\n";
  iovec vector{.iov_base = line.data(), .iov_len = line.size()};
  const auto sent = send_once(connection->socket->get(), std::span(&vector, 1));
  // Nothing was sent before it: a socket without room for it is a trick.
  if (!sent || *sent != line.size()) {
    end(connection);
  }
}

// It may have heard the last of the host while the host has not taken the last of the guest.
void VsockConnections::handle_reset(const Connection& connection) {
  const bool clean = connection->state == State::kOpen &&
                     (connection->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND) != 0 &&
                     !connection->host_gone && !connection->backlog.empty();
  if (!clean || lingering_ >= kLingeringMost) {
    remove(connection);
    return;
  }
  by_ports_.erase(std::uint64_t{connection->ports.guest} << 32U | connection->ports.host);
  leave(*connection, State::kLingering);
  ++lingering_;
  if (const auto active = std::exchange(connection->active, std::nullopt)) active_.erase(*active);
}

void VsockConnections::handle_data(const Connection& connection, const VsockPacket& packet,
                                   const ring::Chain& chain, std::unique_lock<std::mutex>& lock) {
  const bool open = connection->state == State::kOpen &&
                    (connection->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND) == 0;
  const std::uint32_t length = packet.payload.length;
  const bool within = connection->credit.receive(length);
  if (!open || !within) {
    if (!within) ++counts_.overdrawn;
    end(connection);
    return;
  }
  counts_.bytes_to_host += length;
  if (connection->host_gone) {
    connection->credit.forward(length);  // into nothing: the guest was told
    return;
  }
  const bool whole =
      connection->type == VsockType::kStream || (packet.flags & spec::VIRTIO_VSOCK_SEQ_EOM) != 0;
  pieces_.clear();
  MUST(chain.append_readable(packet.payload, pieces_));
  std::uint32_t sent = 0;
  if (whole && length > 0 && connection->backlog.empty() && pieces_.size() <= kVectorsMost) {
    // Straight from the region to the socket. This thread alone adds to the backlog, so nothing
    // gets in between.
    const auto socket = connection->socket;
    lock.unlock();
    vectors_.clear();
    for (const shm::SharedBytes& piece : pieces_)
      vectors_.push_back(piece.for_kernel());
    const auto outcome = send_once(socket->get(), vectors_);
    lock.lock();
    if (connection->state != State::kOpen) return;
    if (!outcome && static_cast<int>(outcome.error().detail) == EMSGSIZE) {
      end(connection);
      return;
    }
    if (!outcome || connection->host_gone) {
      // Whoever lost the host has forwarded what was buffered, and this with it.
      if (!connection->host_gone) lose_host(connection);
      return;
    }
    sent = *outcome;
  }
  keep(connection, packet, chain, sent);
}

// The rest of a packet of which the socket took `sent` bytes.
void VsockConnections::keep(const Connection& connection, const VsockPacket& packet,
                            const ring::Chain& chain, std::uint32_t sent) {
  connection->credit.forward(sent);
  const std::uint32_t rest = packet.payload.length - sent;
  if (rest > 0) {
    MUST(chain.read(packet.payload.offset + sent, connection->backlog.grow(rest)));
  }
  if ((packet.flags & spec::VIRTIO_VSOCK_SEQ_EOM) != 0) connection->backlog.end_message();
  // Once more: room that came before the backlog could be seen brings no event.
  if (rest > 0) {
    flush(connection);
  } else if (connection->credit.update_due()) {
    connection->say_credit = true;
  }
}

void VsockConnections::flush(const Connection& connection) {
  if (connection->socket == nullptr || connection->backlog.empty()) return;
  const int socket = connection->socket->get();
  const auto sent = connection->type == VsockType::kStream
                        ? connection->backlog.flush_stream(socket)
                        : connection->backlog.flush_messages(socket);
  if (!sent) {
    if (static_cast<int>(sent.error().detail) == EMSGSIZE) {
      end(connection);
    } else {
      lose_host(connection);
    }
    return;
  }
  connection->credit.forward(*sent);
  if (connection->credit.update_due()) connection->say_credit = true;
  if (connection->backlog.empty()) follow_shutdown(connection);
  activate(connection);
}

// The host takes nothing any more; what it wrote before may be there still.
void VsockConnections::lose_host(const Connection& connection) {
  if (connection->state == State::kLingering) {
    remove(connection);
    return;
  }
  if (connection->state != State::kOpen) return;
  connection->host_gone = true;
  connection->credit.forward(connection->credit.buffered());
  connection->backlog.clear();
  connection->shut |= VIRTIO_VSOCK_SHUTDOWN_RCV;
  if ((connection->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) != 0) {
    connection->shut |= VIRTIO_VSOCK_SHUTDOWN_SEND;
  }
  if ((connection->shut & VIRTIO_VSOCK_SHUTDOWN_SEND) == 0) connection->readable = true;
  follow_shutdown(connection);
}

// What the guest said is over, is over for the host as soon as it has all that came before.
void VsockConnections::follow_shutdown(const Connection& connection) {
  if (connection->state == State::kLingering) {
    if (connection->backlog.empty()) remove(connection);
    return;
  }
  const std::uint32_t over = connection->guest_shut;
  if (over == 0 || connection->state != State::kOpen) return;
  const int socket = connection->socket->get();
  if ((over & VIRTIO_VSOCK_SHUTDOWN_RCV) != 0) ::shutdown(socket, SHUT_RD);
  if ((over & VIRTIO_VSOCK_SHUTDOWN_SEND) == 0 || !connection->backlog.empty()) return;
  ::shutdown(socket, SHUT_WR);
  // 5.10.6.5: a clean disconnect ends with a reset.
  if (over == VIRTIO_VSOCK_SHUTDOWN_BOTH) finish(connection);
}

}  // namespace airlock::device
