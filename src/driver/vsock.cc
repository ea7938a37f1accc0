// SPDX-License-Identifier: Apache-2.0
#include "driver/vsock.h"

#include <algorithm>
#include <array>

#include "base/check.h"

namespace airlock::driver {

namespace {

using State = VsockSocket::State;
using spec::VIRTIO_VSOCK_SHUTDOWN_BOTH;
using spec::VIRTIO_VSOCK_SHUTDOWN_RCV;
using spec::VIRTIO_VSOCK_SHUTDOWN_SEND;

/// Ports of those who connect, as Linux chooses them: above the well-known ones.
constexpr std::uint32_t kFirstFreePort = 1024;
constexpr std::array<std::uint8_t, 2> kVsockConfigWidths{4, 4};

}  // namespace

Result<std::unique_ptr<Vsock>> Vsock::open(std::unique_ptr<PciTransport> transport,
                                           const Options& options) {
  Options wanted = options;
  wanted.device.device_type = spec::VIRTIO_ID_VSOCK;
  wanted.device.features = spec::feature(spec::VIRTIO_VSOCK_F_STREAM) |
                           spec::feature(spec::VIRTIO_VSOCK_F_SEQPACKET) |
                           spec::feature(spec::VIRTIO_VSOCK_F_NO_IMPLIED_STREAM);
  auto device = TRY(VirtioDevice::open(std::move(transport), wanted.device));
  std::unique_ptr<Vsock> vsock(new Vsock(std::move(device), wanted));
  TRY(vsock->read_cid());
  TRY(vsock->link_.attach());
  TRY(vsock->device_->start());
  TRY(vsock->link_.kick());
  return vsock;
}

Vsock::~Vsock() {
  static_cast<void>(device_->quiesce());
}

// 5.10.4: the upper half is zero, and some ids are reserved.
Result<void> Vsock::read_cid() {
  std::array<Le32, 2> halves{};
  const std::size_t available = TRY(
      device_->read_device_config(std::as_writable_bytes(std::span(halves)), kVsockConfigWidths));
  const std::uint32_t cid = halves[0].get();
  if (available < sizeof halves || halves[1].get() != 0 || cid < spec::VIRTIO_VSOCK_CID_GUEST_MIN ||
      cid == spec::VIRTIO_VSOCK_CID_ANY) {
    return device_->fail_device({.code = Errc::kMalformed});
  }
  cid_ = cid;
  return {};
}

// 5.10.3.1.
bool Vsock::has_type(SocketType type) const {
  if (type == SocketType::kSeqpacket) return device_->has(spec::VIRTIO_VSOCK_F_SEQPACKET);
  return device_->has(spec::VIRTIO_VSOCK_F_STREAM) ||
         !device_->has(spec::VIRTIO_VSOCK_F_NO_IMPLIED_STREAM);
}

Result<VsockSocket*> Vsock::find(SocketId id) {
  const auto found = sockets_.find(id);
  if (found == sockets_.end() || found->second.state == State::kClosing) {
    return fail(Errc::kBadHandle);
  }
  return &found->second;
}

SocketId Vsock::add(const Ports& ports, SocketType type, State state) {
  const SocketId id{next_id_++};
  sockets_.emplace(id, VsockSocket(ports, type, state, options_.buffer_bytes));
  by_ports_.emplace(ports, id);
  return id;
}

void Vsock::remove(SocketId id) {
  const auto found = sockets_.find(id);
  if (found == sockets_.end()) return;
  const auto by_ports = by_ports_.find(found->second.ports);
  if (by_ports != by_ports_.end() && by_ports->second == id) by_ports_.erase(by_ports);
  sockets_.erase(found);
}

std::optional<std::uint32_t> Vsock::free_port() const {
  // There are fewer sockets than ports.
  for (std::uint32_t port = kFirstFreePort + static_cast<std::uint32_t>(next_id_ % 0x40000000);;
       ++port) {
    const auto first = by_ports_.lower_bound({port, 0});
    const bool used = first != by_ports_.end() && first->first.first == port;
    if (!used && !listeners_.contains({port, SocketType::kStream}) &&
        !listeners_.contains({port, SocketType::kSeqpacket})) {
      return port;
    }
  }
}

template <class Done>
Result<void> Vsock::until(const Done& done) {
  const Deadline deadline = Deadline::after(options_.timeout);
  for (;;) {
    // HD-19: a device that always has something to say is looked at once more, and no more.
    const bool late = deadline.passed();
    const bool came = TRY(process());
    if (done()) return {};
    if (late) {
      TRY(device_->check());
      return fail(deadline.error());
    }
    if (came) continue;
    TRY(link_.wait(deadline));
  }
}

Result<SocketId> Vsock::connect(std::uint32_t port, SocketType type) {
  if (!has_type(type)) return fail(Errc::kNotSupportedByDevice);
  if (sockets_.size() >= options_.sockets_max) return fail(Errc::kQueueFull);
  TRY(until([this] { return link_.has_room(); }));
  // NOLINTNEXTLINE(bugprone-unchecked-optional-access): there are more ports than sockets
  const SocketId id = add({*free_port(), port}, type, State::kConnecting);
  VsockSocket& socket = sockets_.at(id);
  TRY(say(socket, spec::VIRTIO_VSOCK_OP_REQUEST, 0, {}));
  const auto answered = until([&socket] { return socket.state != State::kConnecting; });
  if (answered && socket.state == State::kOpen) return id;
  if (answered) {
    remove(id);
    return fail(Errc::kPeerClosed);
  }
  static_cast<void>(reset(id));
  return fail(answered.error());
}

Result<void> Vsock::listen(std::uint32_t port, SocketType type) {
  if (!has_type(type)) return fail(Errc::kNotSupportedByDevice);
  if (!listeners_.try_emplace({port, type}).second) return fail(Errc::kAlreadyInFlight);
  return {};
}

Result<SocketId> Vsock::accept(std::uint32_t port, SocketType type) {
  const auto listener = listeners_.find({port, type});
  if (listener == listeners_.end()) return fail(Errc::kBadHandle);
  std::vector<SocketId>& waiting = listener->second.waiting;
  TRY(until([&waiting] { return !waiting.empty(); }));
  const SocketId id = waiting.front();
  waiting.erase(waiting.begin());
  return id;
}

Result<void> Vsock::send(SocketId id, std::span<const std::byte> source) {
  VsockSocket& socket = *TRY(find(id));
  const bool message = socket.type == SocketType::kSeqpacket;
  if ((socket.own_shut & VIRTIO_VSOCK_SHUTDOWN_SEND) != 0) return fail(Errc::kWrongState);
  if (message && source.size() > socket.credit.peer_buffer_bytes()) {
    return fail({.code = Errc::kTooLarge, .address = source.size()});
  }
  while (!source.empty()) {
    const auto ready = until([&] {
      return socket.state != State::kOpen || (link_.has_room() && socket.credit.free() > 0) ||
             (socket.peer_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) != 0;
    });
    if (!ready) {
      static_cast<void>(reset(id));
      return ready;
    }
    const bool refused = (socket.peer_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) != 0;
    if (socket.state != State::kOpen || refused) return fail(Errc::kPeerClosed);
    const auto room = std::min<std::size_t>(socket.credit.free(), link_.payload_max());
    const std::size_t length = std::min(source.size(), room);
    const bool last = message && length == source.size();
    socket.credit.send(static_cast<std::uint32_t>(length));
    TRY(say(socket, spec::VIRTIO_VSOCK_OP_RW, last ? spec::VIRTIO_VSOCK_SEQ_EOM : 0,
            source.first(length)));
    source = source.subspan(length);
  }
  return {};
}

Result<Vsock::Received> Vsock::receive(SocketId id, std::span<std::byte> target, bool peek) {
  VsockSocket& socket = *TRY(find(id));
  TRY(until([&socket] {
    return socket.readable() || socket.state != State::kOpen ||
           (socket.peer_shut & VIRTIO_VSOCK_SHUTDOWN_SEND) != 0;
  }));
  if (!socket.readable()) {
    // A reset after the last byte is the end of a clean disconnect.
    if ((socket.peer_shut & VIRTIO_VSOCK_SHUTDOWN_SEND) != 0) return Received{.end = true};
    return fail(Errc::kPeerClosed);
  }
  const bool stream = socket.type == SocketType::kStream;
  const std::size_t whole = stream ? socket.buffered() : socket.messages.front();
  const std::size_t count = std::min(whole, target.size());
  std::ranges::copy(std::span(socket.bytes).subspan(socket.first, count), target.begin());
  const Received received{.bytes = count, .message_bytes = stream ? 0 : whole};
  if (peek) return received;
  const std::size_t taken = stream ? count : whole;
  if (!stream) socket.messages.pop_front();
  socket.first += taken;
  if (socket.buffered() == 0) {
    socket.bytes.clear();
    socket.first = 0;
  }
  socket.credit.forward(static_cast<std::uint32_t>(taken));
  if (socket.credit.update_due() && socket.state == State::kOpen) {
    socket.say_credit = true;
    due(id, socket);
    TRY(say_due());
  }
  return received;
}

Result<void> Vsock::shutdown(SocketId id, std::uint32_t flags) {
  VsockSocket& socket = *TRY(find(id));
  if (socket.state != State::kOpen) return fail(Errc::kPeerClosed);
  TRY(until([this] { return link_.has_room(); }));
  socket.own_shut |= flags & VIRTIO_VSOCK_SHUTDOWN_BOTH;
  if (socket.state != State::kOpen) return {};
  return say(socket, spec::VIRTIO_VSOCK_OP_SHUTDOWN, socket.own_shut, {});
}

// 5.10.6.5: the ports are not used again until the peer has answered.
Result<void> Vsock::close(SocketId id) {
  VsockSocket& socket = *TRY(find(id));
  if (socket.state == State::kOpen) TRY(shutdown(id, VIRTIO_VSOCK_SHUTDOWN_BOTH));
  if (socket.state == State::kOpen) {
    socket.state = State::kClosing;
    socket.bytes = {};
    socket.messages.clear();
    return {};
  }
  remove(id);
  return {};
}

Result<void> Vsock::wait_closed() {
  return until([this] {
    return std::ranges::none_of(
        sockets_, [](const auto& entry) { return entry.second.state == State::kClosing; });
  });
}

Result<void> Vsock::reset(SocketId id) {
  VsockSocket& socket = *TRY(find(id));
  if (socket.state == State::kReset) {
    remove(id);
    return {};
  }
  TRY(until([this] { return link_.has_room(); }));
  TRY(say(socket, spec::VIRTIO_VSOCK_OP_RST, 0, {}));
  remove(id);
  return {};
}

}  // namespace airlock::driver
