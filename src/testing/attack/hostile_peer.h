// SPDX-License-Identifier: Apache-2.0
//
// The connection of a hostile device: the answers of an honest session, except for the one that it
// was told to lie about, and whatever commands it sends by itself.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "vfio_user/handler.h"
#include "vfio_user/session.h"
#include "wire/raw_peer.h"

namespace airlock::testing::attack {

/// One client. One thread.
class HostilePeer {
 public:
  /// Sends something, or nothing, instead of the honest reply, which has no bytes where the
  /// request wants none.
  using Lie = std::function<void(vfio_user::RawPeer& wire, const spec::VfioUserHeader& request,
                                 vfio_user::Outgoing honest)>;
  using Condition = std::function<bool(const vfio_user::Message& request)>;

  /// `socket` blocks. The handler outlives it.
  HostilePeer(vfio_user::Handler& handler, Fd socket);

  /// The next request that meets the condition gets the lie, and no other.
  void lie_once(Condition condition, Lie lie);
  /// Whether that request has come.
  [[nodiscard]] bool lied() const { return !lie_; }

  /// Takes one message and answers it. False: the client has left, or speaks nonsense.
  bool serve();
  /// Sends a command and waits for its reply, serving what comes in between. Nothing: no reply came
  /// within `timeout_ms`, or the client has left.
  std::optional<vfio_user::Message> ask(std::uint16_t command, const vfio_user::Bytes& payload,
                                        int timeout_ms = 5000);
  /// Sends a command and does not look for a reply. False if the client takes no more.
  bool post(std::uint16_t command, const vfio_user::Bytes& payload);

  [[nodiscard]] int fd() const { return wire_.fd(); }

 private:
  void answer(vfio_user::Message request);

  vfio_user::RawPeer wire_;
  vfio_user::Session session_;
  Condition condition_;
  Lie lie_;
  std::uint16_t last_id_ = 0x4000;  // of our own commands
};

}  // namespace airlock::testing::attack
