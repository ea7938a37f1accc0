// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/fifo.h"
#include "base/result.h"
#include "ring/chain.h"

namespace airlock::device {

/// What a host's socket has not taken yet of what the guest sent: bytes, and for seqpacket the ends
/// of the messages. Holds no more than its connection's credit, and no memory while it is empty.
class VsockBacklog {
 public:
  /// `bytes` are in private memory or about to be: room for a part of a chain, to be filled.
  [[nodiscard]] std::span<std::byte> grow(std::uint32_t bytes);
  /// What was appended since the last end is one message. An empty one is nothing.
  void end_message();

  [[nodiscard]] bool empty() const { return bytes_.size() == first_; }
  [[nodiscard]] std::uint32_t size() const {
    return static_cast<std::uint32_t>(bytes_.size() - first_);
  }

  /// Writes to `socket`, which may be of either kind, as much as it takes; returns how many bytes
  /// went. Of a seqpacket socket whole messages only. Errors: kSystem (EPIPE, EMSGSIZE, ...).
  [[nodiscard]] Result<std::uint32_t> flush_stream(int socket);
  [[nodiscard]] Result<std::uint32_t> flush_messages(int socket);
  void clear();

 private:
  void drop(std::uint32_t bytes);

  std::vector<std::byte> bytes_;
  std::size_t first_ = 0;         // those before it went
  Fifo<std::uint32_t> messages_;  // lengths of the whole ones
  std::uint32_t unfinished_ = 0;  // bytes of the last one, whose end has not come
};

/// Sends once, without blocking or a signal: the bytes taken, 0 if the socket takes none now.
/// Errors: kSystem.
[[nodiscard]] Result<std::uint32_t> send_once(int socket, std::span<iovec> vectors);

}  // namespace airlock::device
