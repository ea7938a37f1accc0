// SPDX-License-Identifier: Apache-2.0
//
// Virtio over MMIO: VIRTIO 1.3, 4.2.2. Registers are 32 bits wide; the configuration of the
// device's type follows them.
#pragma once

#include <cstdint>

namespace airlock::spec {

inline constexpr std::uint32_t VIRTIO_MMIO_MAGIC = 0x74726976;  // "virt"
inline constexpr std::uint32_t VIRTIO_MMIO_VERSION_2 = 2;

// Offsets. R: the driver reads it; W: it writes it.
inline constexpr std::uint32_t VIRTIO_MMIO_MAGIC_VALUE = 0x000;          // R
inline constexpr std::uint32_t VIRTIO_MMIO_VERSION = 0x004;              // R
inline constexpr std::uint32_t VIRTIO_MMIO_DEVICE_ID = 0x008;            // R, 0: no device
inline constexpr std::uint32_t VIRTIO_MMIO_VENDOR_ID = 0x00c;            // R
inline constexpr std::uint32_t VIRTIO_MMIO_DEVICE_FEATURES = 0x010;      // R
inline constexpr std::uint32_t VIRTIO_MMIO_DEVICE_FEATURES_SEL = 0x014;  // W
inline constexpr std::uint32_t VIRTIO_MMIO_DRIVER_FEATURES = 0x020;      // W
inline constexpr std::uint32_t VIRTIO_MMIO_DRIVER_FEATURES_SEL = 0x024;  // W
inline constexpr std::uint32_t VIRTIO_MMIO_QUEUE_SEL = 0x030;            // W
inline constexpr std::uint32_t VIRTIO_MMIO_QUEUE_SIZE_MAX = 0x034;       // R, 0: no such queue
inline constexpr std::uint32_t VIRTIO_MMIO_QUEUE_SIZE = 0x038;           // W
inline constexpr std::uint32_t VIRTIO_MMIO_QUEUE_READY = 0x044;          // RW
inline constexpr std::uint32_t VIRTIO_MMIO_QUEUE_NOTIFY = 0x050;         // W
inline constexpr std::uint32_t VIRTIO_MMIO_INTERRUPT_STATUS = 0x060;     // R
inline constexpr std::uint32_t VIRTIO_MMIO_INTERRUPT_ACK = 0x064;        // W
inline constexpr std::uint32_t VIRTIO_MMIO_STATUS = 0x070;               // RW
inline constexpr std::uint32_t VIRTIO_MMIO_QUEUE_DESC_LOW = 0x080;       // W, as the next five
inline constexpr std::uint32_t VIRTIO_MMIO_QUEUE_DESC_HIGH = 0x084;
inline constexpr std::uint32_t VIRTIO_MMIO_QUEUE_DRIVER_LOW = 0x090;
inline constexpr std::uint32_t VIRTIO_MMIO_QUEUE_DRIVER_HIGH = 0x094;
inline constexpr std::uint32_t VIRTIO_MMIO_QUEUE_DEVICE_LOW = 0x0a0;
inline constexpr std::uint32_t VIRTIO_MMIO_QUEUE_DEVICE_HIGH = 0x0a4;
inline constexpr std::uint32_t VIRTIO_MMIO_SHM_SEL = 0x0ac;       // W
inline constexpr std::uint32_t VIRTIO_MMIO_SHM_LEN_LOW = 0x0b0;   // R, as the next three
inline constexpr std::uint32_t VIRTIO_MMIO_SHM_LEN_HIGH = 0x0b4;  // all ones: no such region
inline constexpr std::uint32_t VIRTIO_MMIO_SHM_BASE_LOW = 0x0b8;
inline constexpr std::uint32_t VIRTIO_MMIO_SHM_BASE_HIGH = 0x0bc;
inline constexpr std::uint32_t VIRTIO_MMIO_QUEUE_RESET = 0x0c0;        // RW, VIRTIO_F_RING_RESET
inline constexpr std::uint32_t VIRTIO_MMIO_CONFIG_GENERATION = 0x0fc;  // R
inline constexpr std::uint32_t VIRTIO_MMIO_CONFIG = 0x100;

// Bits of InterruptStatus and InterruptACK.
inline constexpr std::uint32_t VIRTIO_MMIO_INT_VRING = 1;
inline constexpr std::uint32_t VIRTIO_MMIO_INT_CONFIG = 2;

}  // namespace airlock::spec
