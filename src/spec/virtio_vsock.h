// SPDX-License-Identifier: Apache-2.0
//
// The socket device. VIRTIO 1.3, 5.10.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/le.h"

namespace airlock::spec {

// Queues. VIRTIO 1.3, 5.10.2.
inline constexpr std::uint16_t VIRTIO_VSOCK_QUEUE_RX = 0;
inline constexpr std::uint16_t VIRTIO_VSOCK_QUEUE_TX = 1;
inline constexpr std::uint16_t VIRTIO_VSOCK_QUEUE_EVENT = 2;
inline constexpr std::uint16_t VIRTIO_VSOCK_QUEUES = 3;

// Feature bits, by number. VIRTIO 1.3, 5.10.3.
inline constexpr unsigned VIRTIO_VSOCK_F_STREAM = 0;
inline constexpr unsigned VIRTIO_VSOCK_F_SEQPACKET = 1;
inline constexpr unsigned VIRTIO_VSOCK_F_NO_IMPLIED_STREAM = 2;

// Context ids. VIRTIO 1.3, 5.10.4. The upper half of each is reserved, and zero.
inline constexpr std::uint32_t VIRTIO_VSOCK_CID_HOST = 2;
/// The first that a guest may have.
inline constexpr std::uint32_t VIRTIO_VSOCK_CID_GUEST_MIN = 3;
inline constexpr std::uint32_t VIRTIO_VSOCK_CID_ANY = 0xffffffff;

/// Device configuration. VIRTIO 1.3, 5.10.4. Read by the driver only.
struct VirtioVsockConfig {
  Le64 guest_cid;  // +0
};
static_assert(sizeof(VirtioVsockConfig) == 8);
static_assert(std::has_unique_object_representations_v<VirtioVsockConfig>);

/// What every packet starts with; `len` bytes of payload follow. VIRTIO 1.3, 5.10.6. Context ids
/// are 64 bits wide there: here in halves, as 44 bytes are no multiple of eight.
struct VirtioVsockHdr {
  Le32 src_cid;       // +0
  Le32 src_cid_high;  // +4   reserved
  Le32 dst_cid;       // +8
  Le32 dst_cid_high;  // +12  reserved
  Le32 src_port;      // +16
  Le32 dst_port;      // +20
  Le32 len;           // +24  bytes of payload
  Le16 type;          // +28  VIRTIO_VSOCK_TYPE_*
  Le16 op;            // +30  VIRTIO_VSOCK_OP_*
  Le32 flags;         // +32  VIRTIO_VSOCK_SHUTDOWN_* or VIRTIO_VSOCK_SEQ_*
  Le32 buf_alloc;     // +36  bytes that the sender has to receive into, free or not
  Le32 fwd_cnt;       // +40  bytes that it has taken out of there, modulo 2^32
};
static_assert(sizeof(VirtioVsockHdr) == 44 && alignof(VirtioVsockHdr) == 4);
static_assert(offsetof(VirtioVsockHdr, dst_cid) == 8);
static_assert(offsetof(VirtioVsockHdr, src_port) == 16);
static_assert(offsetof(VirtioVsockHdr, len) == 24);
static_assert(offsetof(VirtioVsockHdr, type) == 28 && offsetof(VirtioVsockHdr, op) == 30);
static_assert(offsetof(VirtioVsockHdr, buf_alloc) == 36);
static_assert(offsetof(VirtioVsockHdr, fwd_cnt) == 40);
static_assert(std::has_unique_object_representations_v<VirtioVsockHdr>);

// Types of sockets. VIRTIO 1.3, 5.10.6.2.
inline constexpr std::uint16_t VIRTIO_VSOCK_TYPE_STREAM = 1;
inline constexpr std::uint16_t VIRTIO_VSOCK_TYPE_SEQPACKET = 2;

// Operations. VIRTIO 1.3, 5.10.6.
inline constexpr std::uint16_t VIRTIO_VSOCK_OP_INVALID = 0;
inline constexpr std::uint16_t VIRTIO_VSOCK_OP_REQUEST = 1;
inline constexpr std::uint16_t VIRTIO_VSOCK_OP_RESPONSE = 2;
inline constexpr std::uint16_t VIRTIO_VSOCK_OP_RST = 3;
inline constexpr std::uint16_t VIRTIO_VSOCK_OP_SHUTDOWN = 4;
inline constexpr std::uint16_t VIRTIO_VSOCK_OP_RW = 5;
inline constexpr std::uint16_t VIRTIO_VSOCK_OP_CREDIT_UPDATE = 6;
inline constexpr std::uint16_t VIRTIO_VSOCK_OP_CREDIT_REQUEST = 7;

// Flags of VIRTIO_VSOCK_OP_SHUTDOWN, as masks. VIRTIO 1.3, 5.10.6.5.
inline constexpr std::uint32_t VIRTIO_VSOCK_SHUTDOWN_RCV = 1;
inline constexpr std::uint32_t VIRTIO_VSOCK_SHUTDOWN_SEND = 2;
inline constexpr std::uint32_t VIRTIO_VSOCK_SHUTDOWN_BOTH = 3;

// Flags of VIRTIO_VSOCK_OP_RW, as masks. VIRTIO 1.3, 5.10.6.6.1.
inline constexpr std::uint32_t VIRTIO_VSOCK_SEQ_EOM = 1;
inline constexpr std::uint32_t VIRTIO_VSOCK_SEQ_EOR = 2;

/// What the event queue carries. VIRTIO 1.3, 5.10.6.7. Written by the device.
struct VirtioVsockEvent {
  Le32 id;  // +0  VIRTIO_VSOCK_EVENT_*
};
static_assert(sizeof(VirtioVsockEvent) == 4);
static_assert(std::has_unique_object_representations_v<VirtioVsockEvent>);

inline constexpr std::uint32_t VIRTIO_VSOCK_EVENT_TRANSPORT_RESET = 0;

}  // namespace airlock::spec
