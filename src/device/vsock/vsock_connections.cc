// SPDX-License-Identifier: Apache-2.0
//
// The table of connections, and what the rx queue and the host's side do with it. What packets do
// is in vsock_handling.cc.
#include "device/vsock/vsock_connections.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace airlock::device {

namespace {

using State = VsockConnection::State;

/// What a connection may have of our memory: much while there are few.
constexpr std::uint32_t kLargeBuffer = 256U << 10U;
constexpr std::uint32_t kMiddleBuffer = 64U << 10U;
constexpr std::uint32_t kSmallBuffer = 16U << 10U;
constexpr std::size_t kLargeMost = 64;
constexpr std::size_t kMiddleMost = 960;
/// A message has to fit into what a socket of the host takes at once, as the system has it.
constexpr std::uint32_t kMessageBytesMost = 128U << 10U;

/// Where ports of the host's clients begin: beyond those that anybody listens on.
constexpr std::uint32_t kHostPortFirst = std::uint32_t{1} << 30U;
constexpr std::uint32_t kHostPortLast = 0x7fffffff;

constexpr std::uint64_t key(VsockPorts ports) {
  return std::uint64_t{ports.guest} << 32U | ports.host;
}

}  // namespace

Result<std::unique_ptr<VsockConnections>> VsockConnections::create(const Options& options) {
  EventFd rx_event = TRY(EventFd::create());
  EventFd tx_event = TRY(EventFd::create());
  return std::unique_ptr<VsockConnections>(
      new VsockConnections(options, std::move(rx_event), std::move(tx_event)));
}

VsockConnections::VsockConnections(const Options& options, EventFd rx_event, EventFd tx_event)
    : options_(options),
      rx_event_(std::move(rx_event)),
      tx_event_(std::move(tx_event)),
      next_host_port_(kHostPortFirst),
      buffers_{{{.bytes = kLargeBuffer, .most = kLargeMost},
                {.bytes = kMiddleBuffer, .most = kMiddleMost},
                {.bytes = kSmallBuffer, .most = options.most}}},
      next_id_(kFirstId) {
  CHECK(options.connector != nullptr);
}

void VsockConnections::configure(bool stream, bool seqpacket) {
  const std::lock_guard lock(mutex_);
  stream_ = stream;
  seqpacket_ = seqpacket;
}

void VsockConnections::clear() {
  const std::lock_guard lock(mutex_);
  while (!by_id_.empty())
    remove(Connection(by_id_.begin()->second));
  resets_.clear();
  CHECK(active_.empty() && by_ports_.empty() && asking_ == 0 && offered_ == 0);
}

VsockCounts VsockConnections::counts() const {
  const std::lock_guard lock(mutex_);
  VsockCounts counts = counts_;
  counts.connections = by_id_.size();
  counts.half_open = asking_ + offered_;
  return counts;
}

// The table.

VsockConnections::Connection VsockConnections::find(VsockPorts ports) const {
  const auto found = by_ports_.find(key(ports));
  return found != by_ports_.end() ? found->second : nullptr;
}

VsockConnections::Connection VsockConnections::add(std::uint64_t id, VsockPorts ports,
                                                   VsockType type) {
  std::size_t buffer_class = 0;
  while (buffers_.at(buffer_class).used == buffers_.at(buffer_class).most)
    ++buffer_class;
  BufferClass& buffer = buffers_.at(buffer_class);
  ++buffer.used;
  const std::uint32_t bytes =
      type == VsockType::kSeqpacket ? std::min(buffer.bytes, kMessageBytesMost) : buffer.bytes;
  auto connection = std::make_shared<VsockConnection>(id, ports, type, bytes);
  connection->buffer_class = buffer_class;
  by_id_.emplace(id, connection);
  by_ports_.emplace(key(ports), connection);
  return connection;
}

void VsockConnections::leave(VsockConnection& connection, State next) {
  if (connection.state == State::kAsking) --asking_;
  if (connection.state == State::kOffered) --offered_;
  if (connection.state == State::kLingering) --lingering_;
  connection.state = next;
}

void VsockConnections::remove(const Connection& connection) {
  if (connection->state == State::kGone) return;
  if (connection->state != State::kLingering) by_ports_.erase(key(connection->ports));
  leave(*connection, State::kGone);
  if (connection->active) active_.erase(*std::exchange(connection->active, std::nullopt));
  --buffers_.at(connection->buffer_class).used;
  connection->socket.reset();
  connection->backlog.clear();
  by_id_.erase(connection->id);
}

// From now on it holds nothing but its ports, until the guest was told.
void VsockConnections::end(const Connection& connection) {
  if (connection->state == State::kGone || connection->state == State::kReset) return;
  ++counts_.resets;
  finish(connection);
}

void VsockConnections::finish(const Connection& connection) {
  if (connection->state == State::kLingering) {
    remove(connection);
    return;
  }
  leave(*connection, State::kReset);
  connection->socket.reset();
  connection->backlog.clear();
  activate(connection);
}

void VsockConnections::activate(const Connection& connection) {
  if (connection->active || !connection->has_something_to_say()) return;
  connection->active = active_.insert(active_.end(), connection);
  wake_rx();
}

void VsockConnections::wake_rx() {
  if (std::exchange(rx_sleeps_, false)) rx_event_.signal();
}

// For the rx queue.

void VsockConnections::want_event(bool wanted) {
  const std::lock_guard lock(mutex_);
  rx_sleeps_ = wanted;
}

std::optional<VsockConnections::Turn> VsockConnections::next_reset() {
  if (resets_.empty()) return std::nullopt;
  Turn turn;
  turn.reply = resets_.front();
  resets_.pop_front();
  reset_was_last_ = true;
  if (resets_.size() <= kResetsMost / 2 && std::exchange(tx_waits_, false)) tx_event_.signal();
  return turn;
}

std::optional<VsockConnections::Turn> VsockConnections::next() {
  const std::lock_guard lock(mutex_);
  // Neither keeps the other waiting.
  if (!reset_was_last_ || active_.empty()) {
    if (auto turn = next_reset()) {
      ++counts_.packets_to_guest;
      return turn;
    }
  }
  reset_was_last_ = false;
  while (!active_.empty()) {
    const Connection connection = std::move(active_.front());
    active_.pop_front();
    connection->active.reset();
    if (!connection->has_something_to_say()) continue;
    Turn turn = turn_of(connection);
    // Back in line, behind the others, if there is more. With data, when that is on its way.
    if (!turn.data) {
      ++counts_.packets_to_guest;
      activate(connection);
    }
    return turn;
  }
  return std::nullopt;
}

VsockConnections::Turn VsockConnections::turn_of(const Connection& connection) {
  Turn turn;
  turn.connection = connection;
  VsockReply& reply = turn.reply;
  reply.ports = connection->ports;
  reply.type = raw_type_of(connection->type);
  if (connection->state == State::kReset) {
    reply.op = spec::VIRTIO_VSOCK_OP_RST;
    turn.connection = nullptr;
    remove(connection);
    return turn;
  }
  if (std::exchange(connection->say_request, false)) {
    reply.op = spec::VIRTIO_VSOCK_OP_REQUEST;
  } else if (std::exchange(connection->say_response, false)) {
    reply.op = spec::VIRTIO_VSOCK_OP_RESPONSE;
  } else if (connection->say_credit) {
    reply.op = spec::VIRTIO_VSOCK_OP_CREDIT_UPDATE;
  } else if (connection->may_read() && connection->credit.free() > 0) {
    reply.op = spec::VIRTIO_VSOCK_OP_RW;
    turn.data = true;
    turn.most = connection->credit.free();
    turn.message_at = connection->message_at;
    turn.message_most = connection->credit.peer_buffer_bytes();
    turn.socket = connection->socket;
    return turn;
  } else if (connection->may_read()) {
    connection->asked_credit = true;
    reply.op = spec::VIRTIO_VSOCK_OP_CREDIT_REQUEST;
  } else {
    connection->shut_told = connection->shut;
    reply.op = spec::VIRTIO_VSOCK_OP_SHUTDOWN;
    reply.flags = connection->shut;
  }
  // Whatever it is, it tells the guest of its credit.
  connection->say_credit = false;
  reply.grant = connection->credit.grant();
  return turn;
}

void VsockConnections::give_back(const Turn& turn) {
  const std::lock_guard lock(mutex_);
  if (!turn.data) --counts_.packets_to_guest;
  if (turn.connection == nullptr) {
    resets_.push_front(turn.reply);
    return;
  }
  VsockConnection& connection = *turn.connection;
  switch (turn.reply.op) {
    case spec::VIRTIO_VSOCK_OP_REQUEST:
      connection.say_request = true;
      break;
    case spec::VIRTIO_VSOCK_OP_RESPONSE:
      connection.say_response = true;
      break;
    case spec::VIRTIO_VSOCK_OP_CREDIT_UPDATE:
      connection.say_credit = true;
      break;
    case spec::VIRTIO_VSOCK_OP_CREDIT_REQUEST:
      connection.asked_credit = false;
      break;
    case spec::VIRTIO_VSOCK_OP_SHUTDOWN:
      connection.shut_told = 0;
      break;
    default:
      break;
  }
  if (connection.active || !connection.has_something_to_say()) return;
  connection.active = active_.insert(active_.begin(), turn.connection);
}

void VsockConnections::nothing_to_read(const Connection& connection) {
  const std::lock_guard lock(mutex_);
  connection->readable = false;
  activate(connection);
}

void VsockConnections::look_again(const Connection& connection) {
  const std::lock_guard lock(mutex_);
  activate(connection);
}

void VsockConnections::host_ended(const Connection& connection, bool gone) {
  const std::lock_guard lock(mutex_);
  if (connection->state != State::kOpen) return;
  connection->readable = false;
  connection->shut |= spec::VIRTIO_VSOCK_SHUTDOWN_SEND;
  if (gone) lose_host(connection);
  activate(connection);
}

spec::VirtioVsockHdr VsockConnections::data_header(const Turn& turn, std::uint32_t bytes,
                                                   std::uint32_t rest) {
  const std::lock_guard lock(mutex_);
  VsockConnection& connection = *turn.connection;
  VsockReply reply = turn.reply;
  // Ended meanwhile: the guest will be told, or knows.
  connection.credit.send(bytes);
  connection.message_at = rest > 0 ? turn.message_at + bytes : 0;
  connection.say_credit = false;
  reply.grant = connection.credit.grant();
  if (connection.type == VsockType::kSeqpacket && rest == 0) {
    reply.flags = spec::VIRTIO_VSOCK_SEQ_EOM;
  }
  ++counts_.packets_to_guest;
  counts_.bytes_to_guest += bytes;
  activate(turn.connection);
  return vsock_header(reply, options_.guest_cid, bytes);
}

void VsockConnections::reset(const Connection& connection) {
  const std::lock_guard lock(mutex_);
  end(connection);
}

// For the host's side.

bool VsockConnections::offer(std::uint64_t id, Client client) {
  const std::lock_guard lock(mutex_);
  const bool in_use = client.type == VsockType::kStream ? stream_ : seqpacket_;
  if (!in_use || by_id_.size() >= options_.most || offered_ >= kHalfOpenMost) {
    ++counts_.clients_dropped;
    return false;
  }
  VsockPorts ports{.guest = client.guest_port, .host = next_host_port_};
  // There are more ports than connections.
  while (by_ports_.contains(key(ports))) {
    ports.host = ports.host == kHostPortLast ? kHostPortFirst : ports.host + 1;
  }
  next_host_port_ = ports.host == kHostPortLast ? kHostPortFirst : ports.host + 1;
  const Connection connection = add(id, ports, client.type);
  connection->state = State::kOffered;
  connection->hears_ok = client.hears_ok;
  ++offered_;
  ++counts_.from_host;
  connection->socket = std::make_shared<const Fd>(std::move(client.socket));
  connection->say_request = true;
  activate(connection);
  return true;
}

std::optional<int> VsockConnections::connected(std::uint64_t id, Fd socket) {
  const std::lock_guard lock(mutex_);
  const auto found = by_id_.find(id);
  // The guest may have changed its mind.
  if (found == by_id_.end() || found->second->state != State::kAsking) return std::nullopt;
  const Connection connection = found->second;
  if (!socket) {
    end(connection);
    return std::nullopt;
  }
  leave(*connection, State::kOpen);
  connection->socket = std::make_shared<const Fd>(std::move(socket));
  connection->say_response = true;
  activate(connection);
  return connection->socket->get();
}

void VsockConnections::socket_event(std::uint64_t id, std::uint32_t events) {
  const std::lock_guard lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return;
  const Connection connection = found->second;
  const bool hung_up = (events & (EPOLLHUP | EPOLLERR)) != 0;
  if (connection->state == State::kOffered && hung_up) {
    end(connection);
    return;
  }
  if ((events & EPOLLOUT) != 0 || hung_up) flush(connection);
  if (connection->state != State::kOpen && connection->state != State::kOffered) return;
  if ((events & (EPOLLIN | EPOLLRDHUP)) != 0 || hung_up) connection->readable = true;
  if (hung_up) {
    const bool unheard = (connection->shut & spec::VIRTIO_VSOCK_SHUTDOWN_SEND) != 0 ||
                         (connection->guest_shut & spec::VIRTIO_VSOCK_SHUTDOWN_RCV) != 0;
    // What it wrote before is read first, where anybody wants it.
    if (unheard && connection->state == State::kOpen) lose_host(connection);
  }
  activate(connection);
}

}  // namespace airlock::device
