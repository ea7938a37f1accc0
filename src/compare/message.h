// SPDX-License-Identifier: Apache-2.0
//
// Messages between the processes of the rig: one struct and some descriptors in a packet. They
// stand for what a guest asks of its hypervisor, and for a transport's registers.
#pragma once

#include <chrono>
#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/fd.h"

namespace airlock::compare {

/// Long enough for any answer on a busy machine: who needs longer has failed.
inline constexpr std::chrono::milliseconds kAnswerWithin{60'000};
/// For who has nothing else to do than to wait for orders.
inline constexpr std::chrono::milliseconds kForEver{-1};

struct SocketPair {
  Fd first;
  Fd second;
};
/// Two connected sockets that keep the borders of packets. Errors: kSystem.
Result<SocketPair> socket_pair();

/// Waits until `fd` is readable. Errors: kTimeout, kSystem.
Result<void> wait_readable(const Fd& fd, std::chrono::milliseconds timeout);

/// A packet and its descriptors (borrowed). Errors: kPeerClosed, kTimeout, kSystem.
Result<void> send_packet(const Fd& socket, std::span<const std::byte> bytes,
                         std::span<const int> fds);
/// The next packet, which has to have exactly target.size() bytes, and the descriptors that came
/// with it. Errors: kPeerClosed, kTimeout, kMalformed, kSystem.
Result<std::vector<Fd>> receive_packet(const Fd& socket, std::span<std::byte> target,
                                       std::chrono::milliseconds timeout);

template <class T>
concept Message = std::is_trivially_copyable_v<T>;

template <Message T>
struct Received {
  T message{};
  std::vector<Fd> fds;
};

/// Errors: as send_packet().
template <Message T>
Result<void> send(const Fd& socket, const T& message, std::span<const int> fds = {}) {
  return send_packet(socket, std::as_bytes(std::span(&message, 1)), fds);
}
/// Errors: as receive_packet().
template <Message T>
Result<Received<T>> receive(const Fd& socket, std::chrono::milliseconds timeout) {
  Received<T> received;
  auto fds =
      receive_packet(socket, std::as_writable_bytes(std::span(&received.message, 1)), timeout);
  if (!fds) return fail(fds.error());
  received.fds = std::move(*fds);
  return received;
}

/// What an answer begins with.
struct Answer {
  bool failed = false;
  Error error{};

  [[nodiscard]] static Answer of(const Result<void>& result) {
    return result ? Answer{} : Answer{.failed = true, .error = result.error()};
  }
};

/// Asks, and waits for the answer, which begins with an Answer `answer`. Errors: what the other end
/// answered; those of send() and receive().
template <Message Reply, Message Request>
Result<Received<Reply>> ask(const Fd& socket, const Request& request,
                            std::span<const int> fds = {}) {
  if (auto sent = send(socket, request, fds); !sent) return fail(sent.error());
  auto received = receive<Reply>(socket, kAnswerWithin);
  if (received && received->message.answer.failed) return fail(received->message.answer.error);
  return received;
}

}  // namespace airlock::compare
