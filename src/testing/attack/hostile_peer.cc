// SPDX-License-Identifier: Apache-2.0
#include "testing/attack/hostile_peer.h"

#include <chrono>
#include <utility>

namespace airlock::testing::attack {

using vfio_user::Bytes;
using vfio_user::Message;
using vfio_user::Outgoing;

namespace {

bool is_reply(const spec::VfioUserHeader& header) {
  return (header.flags & spec::VFIO_USER_F_TYPE_MASK) == spec::VFIO_USER_F_TYPE_REPLY;
}

void send(vfio_user::RawPeer& wire, const Outgoing& message) {
  wire.send(message.bytes, message.fds);
}

}  // namespace

HostilePeer::HostilePeer(vfio_user::Handler& handler, Fd socket)
    : wire_(std::move(socket)), session_(handler, {}, [] {}) {}

void HostilePeer::lie_once(Condition condition, Lie lie) {
  condition_ = std::move(condition);
  lie_ = std::move(lie);
}

bool HostilePeer::serve() {
  auto message = wire_.receive();
  if (!message) return false;
  // An answer that nobody waits for any more.
  if (!is_reply(message->header)) answer(std::move(*message));
  return true;
}

void HostilePeer::answer(Message request) {
  const spec::VfioUserHeader header = request.header;
  const bool lying = lie_ && condition_(request);
  session_.handle(std::move(request));
  auto reply = session_.take_reply();
  if (lying) {
    std::exchange(lie_, nullptr)(wire_, header, reply ? std::move(*reply) : Outgoing{});
  } else if (reply) {
    send(wire_, *reply);
  }
}

std::optional<Message> HostilePeer::ask(std::uint16_t command, const Bytes& payload,
                                        int timeout_ms) {
  using std::chrono::steady_clock;
  const auto deadline = steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  if (!post(command, payload)) return std::nullopt;
  while (true) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - steady_clock::now());
    if (left.count() <= 0 || !wire_.readable(static_cast<int>(left.count()))) return std::nullopt;
    auto message = wire_.receive();
    if (!message) return std::nullopt;
    if (!is_reply(message->header)) {
      answer(std::move(*message));
    } else if (message->header.message_id == last_id_) {
      return message;
    }
  }
}

bool HostilePeer::post(std::uint16_t command, const Bytes& payload) {
  return wire_.send(vfio_user::make_message(++last_id_, command, payload));
}

}  // namespace airlock::testing::attack
