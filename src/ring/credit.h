// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/check.h"

namespace airlock::ring {

/// Bytes that may be sent now: the peer has room for buf_alloc, we have sent `sent` so far, and it
/// has taken fwd_cnt of those, each modulo 2^32. A peer that has taken more than was sent, or that
/// has less room than what is under way, gets nothing: its counters are numbers that it chose.
constexpr std::uint32_t credit_free(std::uint32_t buf_alloc, std::uint32_t sent,
                                    std::uint32_t fwd_cnt) {
  const std::uint32_t under_way = sent - fwd_cnt;
  return under_way <= buf_alloc ? buf_alloc - under_way : 0;
}

/// Whether `length` bytes more, as the peer has it, fit into a buffer of `size` bytes, of which
/// `used` are taken: at most all of them.
constexpr bool credit_allows(std::uint32_t length, std::uint32_t used, std::uint32_t size) {
  return length <= size - used;
}

/// The credit of one connection of a socket device, both ways, as driver and device keep it alike.
/// Bytes of payload; counters wrap. VIRTIO 1.3, 5.10.6.3. What the peer says is believed only as
/// far as it can do harm to nobody but itself: it may have sent no more than was granted, and is
/// sent no more than it says it has room for.
class Credit {
 public:
  /// What a packet tells the peer.
  struct Grant {
    std::uint32_t buf_alloc = 0;
    std::uint32_t fwd_cnt = 0;
  };

  explicit Credit(std::uint32_t buffer_bytes) : buffer_bytes_(buffer_bytes) {}

  // From the peer.

  /// The peer sent `bytes`; false if that is more than it was granted, and nothing was counted.
  [[nodiscard]] bool receive(std::uint32_t bytes) {
    if (!credit_allows(bytes, buffered(), buffer_bytes_)) return false;
    received_ += bytes;
    return true;
  }
  /// Of what was received, `bytes` went on, and make room.
  void forward(std::uint32_t bytes) {
    CHECK(bytes <= buffered());
    forwarded_ += bytes;
  }
  /// Bytes received that did not go on yet.
  [[nodiscard]] std::uint32_t buffered() const { return received_ - forwarded_; }
  [[nodiscard]] std::uint32_t buffer_bytes() const { return buffer_bytes_; }

  /// What the packet that goes out now says; told then.
  [[nodiscard]] Grant grant() {
    told_ = forwarded_;
    return {.buf_alloc = buffer_bytes_, .fwd_cnt = forwarded_};
  }
  /// Whether the peer, as far as it was told, is left with less than half of the buffer while
  /// there is more.
  [[nodiscard]] bool update_due() const {
    return told_ != forwarded_ && received_ - told_ > buffer_bytes_ / 2;
  }

  // To the peer.

  void peer_says(const Grant& grant) { peer_ = grant; }
  /// Bytes that may be sent to it now.
  [[nodiscard]] std::uint32_t free() const {
    return credit_free(peer_.buf_alloc, sent_, peer_.fwd_cnt);
  }
  [[nodiscard]] std::uint32_t peer_buffer_bytes() const { return peer_.buf_alloc; }
  void send(std::uint32_t bytes) { sent_ += bytes; }

 private:
  std::uint32_t buffer_bytes_;
  std::uint32_t received_ = 0;
  std::uint32_t forwarded_ = 0;
  std::uint32_t told_ = 0;  // forwarded_, as the peer last heard
  Grant peer_;
  std::uint32_t sent_ = 0;
};

}  // namespace airlock::ring
