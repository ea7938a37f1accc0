// SPDX-License-Identifier: Apache-2.0
//
// Virtio over PCI: VIRTIO 1.3, 4.1, the capability of VIRTIO_F_SWIOTLB (REQUIREMENTS PCI-0) and the
// register of VIRTIO_F_DMB (DMB-D4).
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/le.h"

namespace airlock::spec {

// VIRTIO 1.3, 4.1.2: a modern device is 0x1040 + its device type.
inline constexpr std::uint16_t VIRTIO_PCI_VENDOR_ID = 0x1af4;
inline constexpr std::uint16_t VIRTIO_PCI_DEVICE_ID_BASE = 0x1040;
inline constexpr std::uint16_t VIRTIO_PCI_DEVICE_ID_LAST = 0x107f;
// A non-transitional device has revision 1 or higher. VIRTIO 1.3, 4.1.2.1.
inline constexpr std::uint8_t VIRTIO_PCI_REVISION_MODERN = 1;

// cfg_type. VIRTIO 1.3, 4.1.4; 10 is PCI-0.
inline constexpr std::uint8_t VIRTIO_PCI_CAP_COMMON_CFG = 1;
inline constexpr std::uint8_t VIRTIO_PCI_CAP_NOTIFY_CFG = 2;
inline constexpr std::uint8_t VIRTIO_PCI_CAP_ISR_CFG = 3;
inline constexpr std::uint8_t VIRTIO_PCI_CAP_DEVICE_CFG = 4;
inline constexpr std::uint8_t VIRTIO_PCI_CAP_PCI_CFG = 5;
inline constexpr std::uint8_t VIRTIO_PCI_CAP_SHARED_MEMORY_CFG = 8;
inline constexpr std::uint8_t VIRTIO_PCI_CAP_VENDOR_CFG = 9;
inline constexpr std::uint8_t VIRTIO_PCI_CAP_SWIOTLB = 10;

/// Where one structure is. VIRTIO 1.3, 4.1.4.
struct VirtioPciCap {
  std::uint8_t cap_vndr;    // +0   PCI_CAP_ID_VNDR
  std::uint8_t cap_next;    // +1   config space offset
  std::uint8_t cap_len;     // +2   bytes, this and what follows; a driver accepts more
  std::uint8_t cfg_type;    // +3   VIRTIO_PCI_CAP_*
  std::uint8_t bar;         // +4   0 to 5, others are reserved
  std::uint8_t id;          // +5   tells several of a type apart
  std::uint8_t padding[2];  // +6
  Le32 offset;              // +8   in the BAR
  Le32 length;              // +12  bytes
};
static_assert(sizeof(VirtioPciCap) == 16 && alignof(VirtioPciCap) == 4);
static_assert(offsetof(VirtioPciCap, cfg_type) == 3 && offsetof(VirtioPciCap, bar) == 4 &&
              offsetof(VirtioPciCap, id) == 5 && offsetof(VirtioPciCap, offset) == 8 &&
              offsetof(VirtioPciCap, length) == 12);
static_assert(std::has_unique_object_representations_v<VirtioPciCap>);

/// The same with 64-bit offset and length, for shared memory. VIRTIO 1.3, 4.1.4.7.
struct VirtioPciCap64 {
  VirtioPciCap cap;
  Le32 offset_hi;  // +16
  Le32 length_hi;  // +20
};
static_assert(sizeof(VirtioPciCap64) == 24 && offsetof(VirtioPciCap64, offset_hi) == 16 &&
              offsetof(VirtioPciCap64, length_hi) == 20);
static_assert(std::has_unique_object_representations_v<VirtioPciCap64>);

/// VIRTIO 1.3, 4.1.4.4.
struct VirtioPciNotifyCap {
  VirtioPciCap cap;
  Le32 notify_off_multiplier;  // +16  bytes between the notify addresses; 0: all share one
};
static_assert(sizeof(VirtioPciNotifyCap) == 20 &&
              offsetof(VirtioPciNotifyCap, notify_off_multiplier) == 16);
static_assert(std::has_unique_object_representations_v<VirtioPciNotifyCap>);

/// A window through config space. VIRTIO 1.3, 4.1.4.9.
struct VirtioPciCfgCap {
  VirtioPciCap cap;              // bar, offset and length are the driver's to write
  std::uint8_t pci_cfg_data[4];  // +16  an access here is one of that BAR
};
static_assert(sizeof(VirtioPciCfgCap) == 20 && offsetof(VirtioPciCfgCap, pci_cfg_data) == 16);
static_assert(std::has_unique_object_representations_v<VirtioPciCfgCap>);

/// The common configuration. VIRTIO 1.3, 4.1.4.3.
struct VirtioPciCommonCfg {
  Le32 device_feature_select;      // +0x00
  Le32 device_feature;             // +0x04  read-only
  Le32 driver_feature_select;      // +0x08
  Le32 driver_feature;             // +0x0c
  Le16 config_msix_vector;         // +0x10
  Le16 num_queues;                 // +0x12  read-only
  std::uint8_t device_status;      // +0x14  VIRTIO_CONFIG_S_*
  std::uint8_t config_generation;  // +0x15  read-only
  Le16 queue_select;               // +0x16
  Le16 queue_size;                 // +0x18
  Le16 queue_msix_vector;          // +0x1a
  Le16 queue_enable;               // +0x1c
  Le16 queue_notify_off;           // +0x1e  read-only
  Le64 queue_desc;                 // +0x20  as two halves, as the next two
  Le64 queue_driver;               // +0x28
  Le64 queue_device;               // +0x30
  Le16 queue_notif_data;           // +0x38  read-only, VIRTIO_F_NOTIF_CONFIG_DATA
  Le16 queue_reset;                // +0x3a  VIRTIO_F_RING_RESET
  Le16 admin_queue_index;          // +0x3c  read-only, VIRTIO_F_ADMIN_VQ
  Le16 admin_queue_num;            // +0x3e  read-only, VIRTIO_F_ADMIN_VQ
};
static_assert(sizeof(VirtioPciCommonCfg) == 64 && alignof(VirtioPciCommonCfg) == 8);
static_assert(offsetof(VirtioPciCommonCfg, driver_feature) == 0x0c &&
              offsetof(VirtioPciCommonCfg, device_status) == 0x14 &&
              offsetof(VirtioPciCommonCfg, queue_select) == 0x16 &&
              offsetof(VirtioPciCommonCfg, queue_enable) == 0x1c &&
              offsetof(VirtioPciCommonCfg, queue_desc) == 0x20 &&
              offsetof(VirtioPciCommonCfg, queue_device) == 0x30 &&
              offsetof(VirtioPciCommonCfg, queue_notif_data) == 0x38 &&
              offsetof(VirtioPciCommonCfg, queue_reset) == 0x3a &&
              offsetof(VirtioPciCommonCfg, admin_queue_num) == 0x3e);
static_assert(std::has_unique_object_representations_v<VirtioPciCommonCfg>);

/// The common configuration of a device that offers VIRTIO_F_DMB. The draft wants the register and
/// leaves its place open: here it follows what VIRTIO 1.3 has. DMB-D4.
struct VirtioPciCommonCfgDmb {
  VirtioPciCommonCfg common;
  Le16 dmb_shm_id;           // +0x40  read-only; which shared memory is the region, at most 255
  std::uint8_t reserved[6];  // +0x42
};
static_assert(sizeof(VirtioPciCommonCfgDmb) == 72 &&
              offsetof(VirtioPciCommonCfgDmb, dmb_shm_id) == 0x40);
static_assert(std::has_unique_object_representations_v<VirtioPciCommonCfgDmb>);

/// The least that a driver needs of the common configuration: all but what features added.
inline constexpr std::uint32_t VIRTIO_PCI_COMMON_CFG_MIN = 0x38;

// ISR status. VIRTIO 1.3, 4.1.4.5.
inline constexpr std::uint8_t VIRTIO_PCI_ISR_QUEUE = 1;
inline constexpr std::uint8_t VIRTIO_PCI_ISR_CONFIG = 2;

// In config_msix_vector and queue_msix_vector: none. VIRTIO 1.3, 4.1.4.3.
inline constexpr std::uint16_t VIRTIO_MSI_NO_VECTOR = 0xffff;

}  // namespace airlock::spec
