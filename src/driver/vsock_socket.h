// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/fifo.h"
#include "ring/credit.h"
#include "spec/virtio_vsock.h"

namespace airlock::driver {

/// Names a socket of a Vsock, never another one after it.
enum class SocketId : std::uint64_t {};

enum class SocketType : std::uint16_t {
  kStream = spec::VIRTIO_VSOCK_TYPE_STREAM,
  kSeqpacket = spec::VIRTIO_VSOCK_TYPE_SEQPACKET,
};

/// One socket of a Vsock, private to it.
struct VsockSocket {
  enum class State : std::uint8_t {
    kConnecting,
    kOpen,
    kReset,    // by the peer, or by us for its lies: the owner is yet to learn of it
    kClosing,  // its owner gave it up; the peer has not answered
  };

  VsockSocket(std::pair<std::uint32_t, std::uint32_t> its_ports, SocketType its_type,
              State its_state, std::uint32_t buffer_bytes)
      : ports(std::move(its_ports)), type(its_type), state(its_state), credit(buffer_bytes) {}

  std::pair<std::uint32_t, std::uint32_t> ports;  // ours, the peer's
  SocketType type;
  State state;
  ring::Credit credit;
  std::uint32_t peer_shut = 0;  // VIRTIO_VSOCK_SHUTDOWN_*, as a mask
  std::uint32_t own_shut = 0;

  // What came and was not taken: at most what the credit allows.
  std::vector<std::byte> bytes;
  std::size_t first = 0;
  Fifo<std::uint32_t> messages;  // seqpacket: lengths of the whole ones
  std::uint32_t unfinished = 0;  // and of the one whose end has not come

  // What the peer is yet to hear.
  bool is_due = false;  // in line to say it
  bool say_response = false;
  bool say_reset = false;
  bool say_credit = false;

  [[nodiscard]] std::size_t buffered() const { return bytes.size() - first; }
  [[nodiscard]] bool readable() const {
    return type == SocketType::kStream ? buffered() > 0 : !messages.empty();
  }
};

}  // namespace airlock::driver
