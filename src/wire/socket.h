// SPDX-License-Identifier: Apache-2.0
//
// Messages over a UNIX stream socket: one recvmsg, one sendmsg, and the queue of what the peer was
// not ready to take. Nothing here blocks, whatever the socket's own mode.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "wire/message.h"

namespace airlock::vfio_user {

/// The most fds that this code sends or takes in one message, whatever a peer allows.
inline constexpr std::uint32_t kMaxMessageFds = 16;

enum class Progress : std::uint8_t { kDone, kWouldBlock };

/// The address of a socket file. Errors: kSystem, ENAMETOOLONG (a NUL ends the name as well) or
/// ENOENT (an empty path).
Result<sockaddr_un> unix_address(const std::string& path);

/// The same for the system calls that take any address.
const sockaddr* as_sockaddr(const sockaddr_un& address);

/// What one recvmsg brought. No bytes: there is nothing now.
struct Received {
  std::size_t bytes = 0;
  std::vector<Fd> fds;
  bool fds_truncated = false;  // more came than kMaxMessageFds, and the kernel dropped some
};

/// Receives once, into `target`, which is not empty. Fds are close-on-exec.
/// Errors: kPeerClosed, kSystem.
Result<Received> receive_bytes(int socket, std::span<std::byte> target);

/// Receives once, into what `reader` asks for. Fds are close-on-exec.
/// Errors: kPeerClosed, kSystem, kMalformed (MessageReader::advance).
Result<Progress> receive_some(int socket, MessageReader& reader);

/// Sends once; `fds` (borrowed, at most kMaxMessageFds) go with the first byte. Returns the bytes
/// that went: 0 if the peer takes none now. Errors: kPeerClosed, kSystem.
Result<std::size_t> send_some(int socket, std::span<const std::byte> bytes,
                              std::span<const int> fds);

/// Messages that wait for the peer to read, in order.
class SendQueue {
 public:
  // A client that reads at all stays far below: the socket's own buffer holds some 300 small
  // messages more. An empty queue takes a message of any size.
  static constexpr std::size_t kMaxMessages = 1024;
  static constexpr std::size_t kMaxBytes = std::size_t{8} << 20U;

  /// Errors: kTooLarge, if the peer has let more than the limits pile up.
  Result<void> push(Outgoing message);
  /// Sends until the queue is empty (kDone) or the peer takes no more. Errors: as send_some().
  Result<Progress> flush(int socket);
  [[nodiscard]] bool empty() const { return messages_.empty(); }

 private:
  std::deque<Outgoing> messages_;
  std::size_t bytes_ = 0;  // in messages_
  std::size_t sent_ = 0;   // of the first one
};

}  // namespace airlock::vfio_user
