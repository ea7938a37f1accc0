// SPDX-License-Identifier: Apache-2.0
//
// What the device's packets do to sockets, and what is said to it in turn. VIRTIO 1.3, 5.10.6.
#include <utility>

#include "base/check.h"
#include "driver/vsock.h"

namespace airlock::driver {

namespace {

using State = VsockSocket::State;
using spec::VIRTIO_VSOCK_SHUTDOWN_BOTH;

/// Answers to packets of no socket that wait for room: while there are so many, no more packets
/// are taken (5.10.6.1.1).
constexpr std::size_t kRefusalsMost = 64;
/// Packets taken before something else has its turn.
constexpr unsigned kPacketsAtOnce = 64;

bool is_known_type(std::uint16_t type) {
  return type == spec::VIRTIO_VSOCK_TYPE_STREAM || type == spec::VIRTIO_VSOCK_TYPE_SEQPACKET;
}

}  // namespace

Result<bool> Vsock::process() {
  bool any = TRY(link_.reap());
  TRY(say_due());
  for (unsigned i = 0; i < kPacketsAtOnce && refusals_.size() < kRefusalsMost; ++i) {
    const auto packet = TRY(link_.receive());
    if (!packet) break;
    TRY(take(*packet));
    any = true;
  }
  if (TRY(link_.take_transport_reset())) {
    lose_all();
    TRY(read_cid());
  }
  TRY(say_due());
  return any;
}

// 5.10.6.7.1: connections are gone; who listens, listens on.
void Vsock::lose_all() {
  for (auto it = sockets_.begin(); it != sockets_.end();) {
    VsockSocket& socket = it->second;
    const SocketId id = it->first;
    ++it;
    if (socket.state == State::kClosing) {
      remove(id);
      continue;
    }
    socket.state = State::kReset;
    socket.say_response = socket.say_credit = socket.say_reset = false;
    by_ports_.erase(socket.ports);
  }
  refusals_.clear();
}

Result<void> Vsock::take(const VsockLink::Packet& packet) {
  const Header& header = packet.header;
  const bool for_us = header.dst_cid.get() == cid_ && header.dst_cid_high.get() == 0;
  const bool from_host =
      header.src_cid.get() == spec::VIRTIO_VSOCK_CID_HOST && header.src_cid_high.get() == 0;
  if (!for_us || !from_host) return {};  // nobody's
  // 5.10.6.4.1: an unknown type is answered by a reset.
  if (!is_known_type(header.type.get()) || !has_type(SocketType{header.type.get()})) {
    refuse(header);
    return {};
  }
  const auto found = by_ports_.find({header.dst_port.get(), header.src_port.get()});
  if (found == by_ports_.end()) {
    if (header.op.get() == spec::VIRTIO_VSOCK_OP_REQUEST) {
      take_request(packet);
    } else {
      refuse(header);
    }
    return {};
  }
  const SocketId id = found->second;
  VsockSocket& socket = sockets_.at(id);
  if (socket.type != SocketType{header.type.get()}) {
    refuse(header);
    return {};
  }
  return take_known(id, socket, packet);
}

// Never a reset for a reset.
void Vsock::refuse(const Header& header) {
  if (header.op.get() == spec::VIRTIO_VSOCK_OP_RST) return;
  Header& answer = refusals_.emplace_back();
  answer = {};
  answer.src_cid.set(cid_);
  answer.dst_cid.set(spec::VIRTIO_VSOCK_CID_HOST);
  answer.src_port = header.dst_port;
  answer.dst_port = header.src_port;
  answer.type = header.type;
  answer.op.set(spec::VIRTIO_VSOCK_OP_RST);
}

void Vsock::take_request(const VsockLink::Packet& packet) {
  const Header& header = packet.header;
  const SocketType type{header.type.get()};
  const auto listener = listeners_.find({header.dst_port.get(), type});
  if (listener == listeners_.end() || listener->second.waiting.size() >= options_.backlog_max ||
      sockets_.size() >= options_.sockets_max) {
    refuse(header);
    return;
  }
  const SocketId id = add({header.dst_port.get(), header.src_port.get()}, type, State::kOpen);
  VsockSocket& socket = sockets_.at(id);
  socket.credit.peer_says({.buf_alloc = header.buf_alloc.get(), .fwd_cnt = header.fwd_cnt.get()});
  listener->second.waiting.push_back(id);
  socket.say_response = true;
  due(id, socket);
}

Result<void> Vsock::take_known(SocketId id, VsockSocket& socket, const VsockLink::Packet& packet) {
  const Header& header = packet.header;
  const std::uint16_t op = header.op.get();
  if (op == spec::VIRTIO_VSOCK_OP_RST) {
    if (socket.state == State::kClosing) {
      remove(id);
      return {};
    }
    socket.state = State::kReset;
    socket.say_response = socket.say_credit = socket.say_reset = false;
    by_ports_.erase(socket.ports);
    return {};
  }
  if (socket.state == State::kClosing || socket.state == State::kReset) return {};
  socket.credit.peer_says({.buf_alloc = header.buf_alloc.get(), .fwd_cnt = header.fwd_cnt.get()});
  const bool open = socket.state == State::kOpen;
  bool fits = open;
  switch (op) {
    case spec::VIRTIO_VSOCK_OP_RESPONSE:
      fits = !open;
      socket.state = State::kOpen;
      break;
    case spec::VIRTIO_VSOCK_OP_RW:
      // The peer said that it sends no more, or we that we take no more: the latter may cross.
      fits = open && (socket.peer_shut & spec::VIRTIO_VSOCK_SHUTDOWN_SEND) == 0 &&
             socket.credit.receive(static_cast<std::uint32_t>(packet.payload.size()));
      if (fits) take_data(socket, packet);
      break;
    case spec::VIRTIO_VSOCK_OP_SHUTDOWN:
      socket.peer_shut |= header.flags.get() & VIRTIO_VSOCK_SHUTDOWN_BOTH;
      // 5.10.6.5: a clean disconnect ends with a reset.
      if (open && socket.peer_shut == VIRTIO_VSOCK_SHUTDOWN_BOTH) {
        socket.say_reset = true;
        socket.state = State::kReset;
      }
      break;
    case spec::VIRTIO_VSOCK_OP_CREDIT_UPDATE:
      break;
    case spec::VIRTIO_VSOCK_OP_CREDIT_REQUEST:
      socket.say_credit = true;
      break;
    default:
      fits = false;
      break;
  }
  if (!fits) {
    socket.state = State::kReset;
    socket.say_reset = true;
  }
  due(id, socket);
  return {};
}

void Vsock::take_data(VsockSocket& socket, const VsockLink::Packet& packet) {
  const auto length = static_cast<std::uint32_t>(packet.payload.size());
  if ((socket.own_shut & spec::VIRTIO_VSOCK_SHUTDOWN_RCV) != 0) {
    socket.credit.forward(length);  // into nothing
    return;
  }
  if (socket.first > 0 && socket.bytes.capacity() - socket.bytes.size() < length) {
    socket.bytes.erase(socket.bytes.begin(),
                       socket.bytes.begin() + static_cast<std::ptrdiff_t>(socket.first));
    socket.first = 0;
  }
  socket.bytes.insert(socket.bytes.end(), packet.payload.begin(), packet.payload.end());
  if (socket.type == SocketType::kStream) return;
  socket.unfinished += length;
  const bool end = (packet.header.flags.get() & spec::VIRTIO_VSOCK_SEQ_EOM) != 0;
  if (end && socket.unfinished > 0) {
    socket.messages.push_back(std::exchange(socket.unfinished, 0));
  }
}

void Vsock::due(SocketId id, VsockSocket& socket) {
  if (socket.is_due || !(socket.say_response || socket.say_reset || socket.say_credit)) return;
  socket.is_due = true;
  due_.push_back(id);
}

Result<void> Vsock::say_due() {
  while (link_.has_room() && !(refusals_.empty() && due_.empty())) {
    if (!refusals_.empty()) {
      const Header answer = refusals_.front();
      refusals_.pop_front();
      TRY(link_.send(answer, {}));
      continue;
    }
    const SocketId id = due_.front();
    due_.pop_front();
    TRY(say_due_of(id));
  }
  return {};
}

Result<void> Vsock::say_due_of(SocketId id) {
  const auto found = sockets_.find(id);
  if (found == sockets_.end()) return {};
  VsockSocket& socket = found->second;
  socket.is_due = false;
  if (std::exchange(socket.say_reset, false)) {
    socket.say_response = socket.say_credit = false;
    by_ports_.erase(socket.ports);
    return say(socket, spec::VIRTIO_VSOCK_OP_RST, 0, {});
  }
  if (std::exchange(socket.say_response, false)) {
    socket.say_credit = false;
    return say(socket, spec::VIRTIO_VSOCK_OP_RESPONSE, 0, {});
  }
  if (!std::exchange(socket.say_credit, false)) return {};
  return say(socket, spec::VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, {});
}

Vsock::Header Vsock::header_of(VsockSocket& socket, std::uint16_t op, std::uint32_t flags,
                               std::size_t bytes) const {
  const ring::Credit::Grant grant = socket.credit.grant();
  return {.src_cid = Le32(cid_),
          .src_cid_high = {},
          .dst_cid = Le32(spec::VIRTIO_VSOCK_CID_HOST),
          .dst_cid_high = {},
          .src_port = Le32(socket.ports.first),
          .dst_port = Le32(socket.ports.second),
          .len = Le32(static_cast<std::uint32_t>(bytes)),
          .type = Le16(std::to_underlying(socket.type)),
          .op = Le16(op),
          .flags = Le32(flags),
          .buf_alloc = Le32(grant.buf_alloc),
          .fwd_cnt = Le32(grant.fwd_cnt)};
}

Result<void> Vsock::say(VsockSocket& socket, std::uint16_t op, std::uint32_t flags,
                        std::span<const std::byte> payload) {
  CHECK(link_.has_room());
  return link_.send(header_of(socket, op, flags, payload.size()), payload);
}

}  // namespace airlock::driver
