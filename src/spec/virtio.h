// SPDX-License-Identifier: Apache-2.0
//
// VIRTIO 1.3: device status (2.1), feature bits (2.2, 6), device types (5), and the bits of the
// drafts.
#pragma once

#include <cstdint>

namespace airlock::spec {

// Device status. VIRTIO 1.3, 2.1.
inline constexpr std::uint8_t VIRTIO_CONFIG_S_ACKNOWLEDGE = 1;
inline constexpr std::uint8_t VIRTIO_CONFIG_S_DRIVER = 2;
inline constexpr std::uint8_t VIRTIO_CONFIG_S_DRIVER_OK = 4;
inline constexpr std::uint8_t VIRTIO_CONFIG_S_FEATURES_OK = 8;
inline constexpr std::uint8_t VIRTIO_CONFIG_S_NEEDS_RESET = 0x40;
inline constexpr std::uint8_t VIRTIO_CONFIG_S_FAILED = 0x80;

// Feature bits, by number. VIRTIO 1.3, 6.
inline constexpr unsigned VIRTIO_F_INDIRECT_DESC = 28;
inline constexpr unsigned VIRTIO_F_EVENT_IDX = 29;
inline constexpr unsigned VIRTIO_F_VERSION_1 = 32;
inline constexpr unsigned VIRTIO_F_ACCESS_PLATFORM = 33;
inline constexpr unsigned VIRTIO_F_RING_PACKED = 34;
inline constexpr unsigned VIRTIO_F_IN_ORDER = 35;
inline constexpr unsigned VIRTIO_F_ORDER_PLATFORM = 36;
inline constexpr unsigned VIRTIO_F_SR_IOV = 37;
inline constexpr unsigned VIRTIO_F_NOTIFICATION_DATA = 38;
inline constexpr unsigned VIRTIO_F_NOTIF_CONFIG_DATA = 39;
inline constexpr unsigned VIRTIO_F_RING_RESET = 40;
inline constexpr unsigned VIRTIO_F_ADMIN_VQ = 41;

// The legacy meaning of bit 27: a driver of another age acknowledges it blindly (DEF-2).
inline constexpr unsigned VIRTIO_F_ANY_LAYOUT = 27;
// The drafts. Bus addresses inside the region (GEN-0), offsets into it (REQUIREMENTS 1.9). Both
// numbers are provisional, so the device and the driver take them as options; these are the
// defaults.
inline constexpr unsigned VIRTIO_F_SWIOTLB = 27;
inline constexpr unsigned VIRTIO_F_DMB = 44;

// Device types. VIRTIO 1.3, 5.
inline constexpr std::uint16_t VIRTIO_ID_NET = 1;
inline constexpr std::uint16_t VIRTIO_ID_BLOCK = 2;
inline constexpr std::uint16_t VIRTIO_ID_CONSOLE = 3;
inline constexpr std::uint16_t VIRTIO_ID_RNG = 4;
inline constexpr std::uint16_t VIRTIO_ID_VSOCK = 19;

/// The mask of one feature bit.
constexpr std::uint64_t feature(unsigned bit) {
  return std::uint64_t{1} << bit;
}

}  // namespace airlock::spec
