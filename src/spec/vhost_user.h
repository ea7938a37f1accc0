// SPDX-License-Identifier: Apache-2.0
//
// vhost-user wire structs and constants: QEMU's docs/interop/vhost-user.rst. Both ends are on one
// host, so the protocol is in host endianness and the fields are plain integers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace airlock::spec {

// Requests of the front end.
inline constexpr std::uint32_t VHOST_USER_GET_FEATURES = 1;
inline constexpr std::uint32_t VHOST_USER_SET_FEATURES = 2;
inline constexpr std::uint32_t VHOST_USER_SET_OWNER = 3;
inline constexpr std::uint32_t VHOST_USER_SET_MEM_TABLE = 5;
inline constexpr std::uint32_t VHOST_USER_SET_VRING_NUM = 8;
inline constexpr std::uint32_t VHOST_USER_SET_VRING_ADDR = 9;
inline constexpr std::uint32_t VHOST_USER_SET_VRING_BASE = 10;
inline constexpr std::uint32_t VHOST_USER_GET_VRING_BASE = 11;
inline constexpr std::uint32_t VHOST_USER_SET_VRING_KICK = 12;
inline constexpr std::uint32_t VHOST_USER_SET_VRING_CALL = 13;
inline constexpr std::uint32_t VHOST_USER_SET_VRING_ERR = 14;
inline constexpr std::uint32_t VHOST_USER_GET_PROTOCOL_FEATURES = 15;
inline constexpr std::uint32_t VHOST_USER_SET_PROTOCOL_FEATURES = 16;
inline constexpr std::uint32_t VHOST_USER_GET_QUEUE_NUM = 17;
inline constexpr std::uint32_t VHOST_USER_SET_VRING_ENABLE = 18;
inline constexpr std::uint32_t VHOST_USER_SET_BACKEND_REQ_FD = 21;
inline constexpr std::uint32_t VHOST_USER_GET_CONFIG = 24;
inline constexpr std::uint32_t VHOST_USER_SET_CONFIG = 25;
inline constexpr std::uint32_t VHOST_USER_GET_INFLIGHT_FD = 31;
inline constexpr std::uint32_t VHOST_USER_SET_INFLIGHT_FD = 32;
inline constexpr std::uint32_t VHOST_USER_RESET_DEVICE = 34;
inline constexpr std::uint32_t VHOST_USER_SET_STATUS = 39;
inline constexpr std::uint32_t VHOST_USER_GET_STATUS = 40;
inline constexpr std::uint32_t VHOST_USER_SET_DEVICE_STATE_FD = 42;
inline constexpr std::uint32_t VHOST_USER_CHECK_DEVICE_STATE = 43;

// Requests of the backend, on the channel of SET_BACKEND_REQ_FD.
inline constexpr std::uint32_t VHOST_USER_BACKEND_CONFIG_CHANGE_MSG = 2;

// Header flags.
inline constexpr std::uint32_t VHOST_USER_VERSION_MASK = 3;
inline constexpr std::uint32_t VHOST_USER_VERSION = 1;
inline constexpr std::uint32_t VHOST_USER_F_REPLY = 1U << 2;
inline constexpr std::uint32_t VHOST_USER_F_NEED_REPLY = 1U << 3;

// Feature bits that are the protocol's and no device's, by number.
inline constexpr unsigned VHOST_F_LOG_ALL = 26;
inline constexpr unsigned VHOST_USER_F_PROTOCOL_FEATURES = 30;

// Protocol features, by number.
inline constexpr unsigned VHOST_USER_PROTOCOL_F_MQ = 0;
inline constexpr unsigned VHOST_USER_PROTOCOL_F_REPLY_ACK = 3;
inline constexpr unsigned VHOST_USER_PROTOCOL_F_BACKEND_REQ = 5;
inline constexpr unsigned VHOST_USER_PROTOCOL_F_CONFIG = 9;
inline constexpr unsigned VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD = 12;
inline constexpr unsigned VHOST_USER_PROTOCOL_F_RESET_DEVICE = 13;
inline constexpr unsigned VHOST_USER_PROTOCOL_F_STATUS = 16;
inline constexpr unsigned VHOST_USER_PROTOCOL_F_DEVICE_STATE = 19;

/// In front of every message.
struct VhostUserHeader {
  std::uint32_t request;  // +0  VHOST_USER_*
  std::uint32_t flags;    // +4  version, VHOST_USER_F_*
  std::uint32_t size;     // +8  bytes that follow
};
static_assert(sizeof(VhostUserHeader) == 12 && offsetof(VhostUserHeader, size) == 8);
static_assert(std::has_unique_object_representations_v<VhostUserHeader>);

/// SET_VRING_NUM, _BASE, _ENABLE, and GET_VRING_BASE both ways.
struct VhostUserVringState {
  std::uint32_t index;  // +0  of the queue
  std::uint32_t num;    // +4
};
static_assert(sizeof(VhostUserVringState) == 8 && offsetof(VhostUserVringState, num) == 4);
static_assert(std::has_unique_object_representations_v<VhostUserVringState>);

/// SET_VRING_ADDR. The ring's areas are user addresses of the memory table, as long as
/// ACCESS_PLATFORM is not negotiated.
struct VhostUserVringAddr {
  std::uint32_t index;       // +0   of the queue
  std::uint32_t flags;       // +4   bit 0: log writes
  std::uint64_t descriptor;  // +8
  std::uint64_t used;        // +16  the device area
  std::uint64_t available;   // +24  the driver area
  std::uint64_t log;         // +32
};
static_assert(sizeof(VhostUserVringAddr) == 40 && offsetof(VhostUserVringAddr, descriptor) == 8 &&
              offsetof(VhostUserVringAddr, used) == 16 &&
              offsetof(VhostUserVringAddr, available) == 24);
static_assert(std::has_unique_object_representations_v<VhostUserVringAddr>);

/// SET_MEM_TABLE: so many regions follow, and their fds come with the message.
struct VhostUserMemory {
  std::uint32_t region_count;  // +0
  std::uint32_t padding;       // +4
};
static_assert(sizeof(VhostUserMemory) == 8 && offsetof(VhostUserMemory, padding) == 4);
static_assert(std::has_unique_object_representations_v<VhostUserMemory>);

/// One of them.
struct VhostUserMemoryRegion {
  std::uint64_t guest_address;  // +0   what descriptors hold
  std::uint64_t size;           // +8   bytes
  std::uint64_t user_address;   // +16  what SET_VRING_ADDR holds
  std::uint64_t mmap_offset;    // +24  in the fd
};
static_assert(sizeof(VhostUserMemoryRegion) == 32 && offsetof(VhostUserMemoryRegion, size) == 8 &&
              offsetof(VhostUserMemoryRegion, user_address) == 16 &&
              offsetof(VhostUserMemoryRegion, mmap_offset) == 24);
static_assert(std::has_unique_object_representations_v<VhostUserMemoryRegion>);

// SET_VRING_KICK, _CALL, _ERR: the queue's index in the low bits, and whether no fd comes.
inline constexpr std::uint64_t VHOST_USER_VRING_IDX_MASK = 0xff;
inline constexpr std::uint64_t VHOST_USER_VRING_NOFD_MASK = 1U << 8;

/// GET_CONFIG, both ways, and SET_CONFIG: `size` bytes of configuration follow.
struct VhostUserConfig {
  std::uint32_t offset;  // +0  in the device configuration
  std::uint32_t size;    // +4  bytes
  std::uint32_t flags;   // +8  0: a driver's write
};
static_assert(sizeof(VhostUserConfig) == 12 && offsetof(VhostUserConfig, flags) == 8);
static_assert(std::has_unique_object_representations_v<VhostUserConfig>);

/// The most configuration that GET_CONFIG can ask for.
inline constexpr std::uint32_t VHOST_USER_MAX_CONFIG_SIZE = 256;

/// GET_INFLIGHT_FD, both ways, and SET_INFLIGHT_FD. The memory's fd comes with the reply of the one
/// and with the other.
struct VhostUserInflight {
  std::uint64_t mmap_size;    // +0   bytes
  std::uint64_t mmap_offset;  // +8   in the fd
  std::uint16_t num_queues;   // +16
  std::uint16_t queue_size;   // +18  entries
  std::uint32_t padding;      // +20
};
static_assert(sizeof(VhostUserInflight) == 24 && offsetof(VhostUserInflight, num_queues) == 16 &&
              offsetof(VhostUserInflight, queue_size) == 18);
static_assert(std::has_unique_object_representations_v<VhostUserInflight>);

/// SET_DEVICE_STATE_FD, with the fd that the state comes from or goes to.
struct VhostUserTransferDeviceState {
  std::uint32_t direction;  // +0
  std::uint32_t phase;      // +4  0: all queues are stopped
};
static_assert(sizeof(VhostUserTransferDeviceState) == 8);
static_assert(std::has_unique_object_representations_v<VhostUserTransferDeviceState>);
inline constexpr std::uint32_t VHOST_TRANSFER_STATE_DIRECTION_LOAD = 1;
inline constexpr std::uint32_t VHOST_TRANSFER_STATE_PHASE_STOPPED = 0;

// Its answer: an error, 0 if there is none, and whether the fd that came is used, not another.
inline constexpr std::uint64_t VHOST_USER_DEVICE_STATE_ERROR_MASK = 0xff;
inline constexpr std::uint64_t VHOST_USER_DEVICE_STATE_NOFD = 1U << 8;

}  // namespace airlock::spec
