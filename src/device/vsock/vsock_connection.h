// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <optional>

#include "base/fd.h"
#include "device/vsock/vsock_backlog.h"
#include "device/vsock/vsock_packet.h"
#include "ring/credit.h"

namespace airlock::device {

/// One connection between the guest and a socket of the host. What is to be said to the guest is
/// not queued: it follows from this, so that a guest that does not listen costs nothing.
/// Of VsockConnections, under its lock.
struct VsockConnection {
  enum class State : std::uint8_t {
    kAsking,   // the guest asked; the host's socket is being connected
    kOffered,  // a client of the host asked; the guest has not answered
    kOpen,
    kReset,      // over: the guest is yet to be told
    kLingering,  // over for the guest: the host's socket has yet to take the last bytes
    kGone,       // in no table any more
  };
  using Active = std::list<std::shared_ptr<VsockConnection>>;

  VsockConnection(std::uint64_t its_id, VsockPorts its_ports, VsockType its_type,
                  std::uint32_t buffer_bytes)
      : id(its_id), ports(its_ports), type(its_type), credit(buffer_bytes) {}

  std::uint64_t id;
  VsockPorts ports;
  VsockType type;
  State state = State::kAsking;
  ring::Credit credit;
  std::size_t buffer_class = 0;
  std::shared_ptr<const Fd> socket;  // others hold it for the length of a system call
  VsockBacklog backlog;
  bool hears_ok = false;  // kOffered: the client is to be told that the guest has accepted

  // What the guest is yet to hear.
  std::optional<Active::iterator> active;  // its place among those that have something to say
  bool say_request = false;
  bool say_response = false;
  bool say_credit = false;
  bool asked_credit = false;  // since there was none
  std::uint32_t shut = 0;     // VIRTIO_VSOCK_SHUTDOWN_*: what is over on the host's side
  std::uint32_t shut_told = 0;

  std::uint32_t guest_shut = 0;  // VIRTIO_VSOCK_SHUTDOWN_*: what the guest said is over
  bool readable = false;         // the host's socket may have something
  bool host_gone = false;        // and takes nothing any more
  std::uint32_t message_at = 0;  // seqpacket: bytes of the host's message that the guest has

  [[nodiscard]] bool may_read() const {
    return state == State::kOpen && readable && (shut & spec::VIRTIO_VSOCK_SHUTDOWN_SEND) == 0 &&
           (guest_shut & spec::VIRTIO_VSOCK_SHUTDOWN_RCV) == 0;
  }
  /// Whether a turn of it would send anything.
  [[nodiscard]] bool has_something_to_say() const {
    if (state == State::kReset) return true;
    if (state == State::kLingering || state == State::kGone) return false;
    return say_request || say_response || say_credit || (shut & ~shut_told) != 0 ||
           (may_read() && (credit.free() > 0 || !asked_credit));
  }
};

}  // namespace airlock::device
