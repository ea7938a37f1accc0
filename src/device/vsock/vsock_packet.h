// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/result.h"
#include "ring/chain.h"
#include "ring/credit.h"
#include "spec/virtio_vsock.h"

namespace airlock::device {

/// The two ends of a connection: one port of the guest and one of the host.
struct VsockPorts {
  std::uint32_t guest = 0;
  std::uint32_t host = 0;

  friend bool operator==(const VsockPorts&, const VsockPorts&) = default;
};

enum class VsockType : std::uint8_t {
  kStream,
  kSeqpacket,
  kUnknown,  // of a packet, never of a connection
};

/// A packet from the guest: its header, copied once, in private memory.
///
/// What it proves: the payload is there, in the chain's readable part. What it does not: anything
/// about types, operations, flags, ports and counters, which are the guest's words.
struct VsockPacket {
  std::uint64_t source_cid = 0;
  std::uint64_t target_cid = 0;
  VsockPorts ports;
  VsockType type = VsockType::kUnknown;
  std::uint16_t raw_type = 0;  // for an answer in kind
  std::uint16_t op = spec::VIRTIO_VSOCK_OP_INVALID;
  std::uint32_t flags = 0;
  ring::Credit::Grant grant;
  ring::Chain::Part payload;
};

/// Reads a packet out of `chain`, of the tx queue. How the driver cut it into buffers means
/// nothing; bytes behind the payload are allowed, and left alone (VIRTIO 1.3, 5.10.6). Errors:
/// kTooSmall (no header), kBadLength (less payload than the header says). A driver that does this
/// is broken, and so is its queue.
[[nodiscard]] Result<VsockPacket> parse_vsock_packet(const ring::Chain& chain);

/// A header for the guest, without payload.
struct VsockReply {
  VsockPorts ports;
  std::uint16_t type = spec::VIRTIO_VSOCK_TYPE_STREAM;
  std::uint16_t op = spec::VIRTIO_VSOCK_OP_RST;
  std::uint32_t flags = 0;
  ring::Credit::Grant grant;
  std::uint64_t source_cid = spec::VIRTIO_VSOCK_CID_HOST;
};

/// The same as it is written, with the length of the payload that follows.
[[nodiscard]] spec::VirtioVsockHdr vsock_header(const VsockReply& reply, std::uint32_t guest_cid,
                                                std::uint32_t payload_bytes);

[[nodiscard]] constexpr std::uint16_t raw_type_of(VsockType type) {
  return type == VsockType::kSeqpacket ? spec::VIRTIO_VSOCK_TYPE_SEQPACKET
                                       : spec::VIRTIO_VSOCK_TYPE_STREAM;
}

}  // namespace airlock::device
