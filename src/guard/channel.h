// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "base/fd.h"
#include "wire/message.h"
#include "wire/socket.h"

namespace airlock::guard {

/// A stream of messages to one peer, the VM or the device. Never blocks. One thread.
///
/// Errors of every call: kPeerClosed, kMalformed (the stream is at an unknown place), kTooLarge
/// (the peer has let too many messages pile up), kSystem. After one the channel is of no use.
class Channel {
 public:
  Channel(Fd socket, vfio_user::MessageReader::Limits limits)
      : socket_(std::move(socket)), reader_(limits) {}

  /// The next whole message, if it has arrived.
  Result<std::optional<vfio_user::Message>> receive();
  /// Sends it, now or as soon as the peer reads.
  Result<void> send(vfio_user::Outgoing message);
  /// Goes on with what the peer was not ready to take.
  Result<void> flush();

  [[nodiscard]] int fd() const { return socket_.get(); }
  /// Whether flush() has something to do.
  [[nodiscard]] bool unsent() const { return !queue_.empty(); }

 private:
  Fd socket_;
  vfio_user::MessageReader reader_;
  vfio_user::SendQueue queue_;
};

/// A message of its own, ready to send.
[[nodiscard]] vfio_user::Outgoing command(std::uint16_t id, std::uint16_t command,
                                          std::span<const std::byte> payload, Fd fd = {});
/// The answer to `request`.
[[nodiscard]] vfio_user::Outgoing reply(const spec::VfioUserHeader& request,
                                        std::span<const std::byte> payload, Fd fd = {});
/// The refusal of `request`, with an errno.
[[nodiscard]] vfio_user::Outgoing error_reply(const spec::VfioUserHeader& request,
                                              std::uint32_t error);

}  // namespace airlock::guard
