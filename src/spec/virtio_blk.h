// SPDX-License-Identifier: Apache-2.0
//
// The block device. VIRTIO 1.3, 5.2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/le.h"

namespace airlock::spec {

// Feature bits, by number. VIRTIO 1.3, 5.2.3.
inline constexpr unsigned VIRTIO_BLK_F_SIZE_MAX = 1;
inline constexpr unsigned VIRTIO_BLK_F_SEG_MAX = 2;
inline constexpr unsigned VIRTIO_BLK_F_GEOMETRY = 4;
inline constexpr unsigned VIRTIO_BLK_F_RO = 5;
inline constexpr unsigned VIRTIO_BLK_F_BLK_SIZE = 6;
inline constexpr unsigned VIRTIO_BLK_F_FLUSH = 9;
inline constexpr unsigned VIRTIO_BLK_F_TOPOLOGY = 10;
inline constexpr unsigned VIRTIO_BLK_F_CONFIG_WCE = 11;
inline constexpr unsigned VIRTIO_BLK_F_MQ = 12;
inline constexpr unsigned VIRTIO_BLK_F_DISCARD = 13;
inline constexpr unsigned VIRTIO_BLK_F_WRITE_ZEROES = 14;
inline constexpr unsigned VIRTIO_BLK_F_LIFETIME = 15;
inline constexpr unsigned VIRTIO_BLK_F_SECURE_ERASE = 16;
inline constexpr unsigned VIRTIO_BLK_F_ZONED = 17;

/// The unit of every sector number, whatever blk_size says. VIRTIO 1.3, 5.2.4.
inline constexpr std::uint32_t VIRTIO_BLK_SECTOR_BYTES = 512;

/// Device configuration. VIRTIO 1.3, 5.2.4. Read by the driver; the driver may write writeback
/// only, and only with VIRTIO_BLK_F_CONFIG_WCE. A field is valid iff its feature was negotiated.
struct VirtioBlkConfig {
  Le64 capacity;                            // +0   sectors of 512 bytes, always valid
  Le32 size_max;                            // +8   bytes, largest single segment
  Le32 seg_max;                             // +12  most segments in a request
  Le16 cylinders;                           // +16
  std::uint8_t heads = 0;                   // +18
  std::uint8_t sectors = 0;                 // +19
  Le32 blk_size;                            // +20  bytes
  std::uint8_t physical_block_exp = 0;      // +24  log2 of logical blocks in a physical one
  std::uint8_t alignment_offset = 0;        // +25  logical blocks before the first aligned one
  Le16 min_io_size;                         // +26  logical blocks
  Le32 opt_io_size;                         // +28  logical blocks
  std::uint8_t writeback = 0;               // +32
  std::uint8_t unused0 = 0;                 // +33
  Le16 num_queues;                          // +34
  Le32 max_discard_sectors;                 // +36  in one segment
  Le32 max_discard_seg;                     // +40  segments in one request
  Le32 discard_sector_alignment;            // +44  sectors
  Le32 max_write_zeroes_sectors;            // +48  in one segment
  Le32 max_write_zeroes_seg;                // +52  segments in one request
  std::uint8_t write_zeroes_may_unmap = 0;  // +56
  std::uint8_t unused1[3] = {};             // +57
  Le32 max_secure_erase_sectors;            // +60
  Le32 max_secure_erase_seg;                // +64
  Le32 secure_erase_sector_alignment;       // +68
  Le32 zone_sectors;                        // +72
  Le32 max_open_zones;                      // +76
  Le32 max_active_zones;                    // +80
  Le32 max_append_sectors;                  // +84
  Le32 write_granularity;                   // +88
  std::uint8_t zoned_model = 0;             // +92
  std::uint8_t unused2[3] = {};             // +93
};
static_assert(sizeof(VirtioBlkConfig) == 96 && alignof(VirtioBlkConfig) == 8);
static_assert(offsetof(VirtioBlkConfig, size_max) == 8);
static_assert(offsetof(VirtioBlkConfig, seg_max) == 12);
static_assert(offsetof(VirtioBlkConfig, cylinders) == 16);
static_assert(offsetof(VirtioBlkConfig, blk_size) == 20);
static_assert(offsetof(VirtioBlkConfig, physical_block_exp) == 24);
static_assert(offsetof(VirtioBlkConfig, min_io_size) == 26);
static_assert(offsetof(VirtioBlkConfig, opt_io_size) == 28);
static_assert(offsetof(VirtioBlkConfig, writeback) == 32);
static_assert(offsetof(VirtioBlkConfig, num_queues) == 34);
static_assert(offsetof(VirtioBlkConfig, max_discard_sectors) == 36);
static_assert(offsetof(VirtioBlkConfig, discard_sector_alignment) == 44);
static_assert(offsetof(VirtioBlkConfig, max_write_zeroes_sectors) == 48);
static_assert(offsetof(VirtioBlkConfig, write_zeroes_may_unmap) == 56);
static_assert(offsetof(VirtioBlkConfig, max_secure_erase_sectors) == 60);
static_assert(offsetof(VirtioBlkConfig, zone_sectors) == 72);
static_assert(offsetof(VirtioBlkConfig, zoned_model) == 92);
static_assert(std::has_unique_object_representations_v<VirtioBlkConfig>);

// Request types. VIRTIO 1.3, 5.2.6.
inline constexpr std::uint32_t VIRTIO_BLK_T_IN = 0;
inline constexpr std::uint32_t VIRTIO_BLK_T_OUT = 1;
inline constexpr std::uint32_t VIRTIO_BLK_T_FLUSH = 4;
inline constexpr std::uint32_t VIRTIO_BLK_T_GET_ID = 8;
inline constexpr std::uint32_t VIRTIO_BLK_T_GET_LIFETIME = 10;
inline constexpr std::uint32_t VIRTIO_BLK_T_DISCARD = 11;
inline constexpr std::uint32_t VIRTIO_BLK_T_WRITE_ZEROES = 13;
inline constexpr std::uint32_t VIRTIO_BLK_T_SECURE_ERASE = 14;

// Status. VIRTIO 1.3, 5.2.6.
inline constexpr std::uint8_t VIRTIO_BLK_S_OK = 0;
inline constexpr std::uint8_t VIRTIO_BLK_S_IOERR = 1;
inline constexpr std::uint8_t VIRTIO_BLK_S_UNSUPP = 2;

/// What a request starts with; data and the status byte follow. VIRTIO 1.3, 5.2.6. Written by the
/// driver.
struct VirtioBlkReqHeader {
  Le32 type;      // +0  VIRTIO_BLK_T_*
  Le32 reserved;  // +4
  Le64 sector;    // +8  in units of 512 bytes
};
static_assert(sizeof(VirtioBlkReqHeader) == 16 && offsetof(VirtioBlkReqHeader, sector) == 8);
static_assert(std::has_unique_object_representations_v<VirtioBlkReqHeader>);

/// One range of a discard, write zeroes or secure erase request. VIRTIO 1.3, 5.2.6.
struct VirtioBlkDiscardWriteZeroes {
  Le64 sector;       // +0   in units of 512 bytes
  Le32 num_sectors;  // +8
  Le32 flags;        // +12  VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP
};
static_assert(sizeof(VirtioBlkDiscardWriteZeroes) == 16);
static_assert(offsetof(VirtioBlkDiscardWriteZeroes, num_sectors) == 8);
static_assert(offsetof(VirtioBlkDiscardWriteZeroes, flags) == 12);
static_assert(std::has_unique_object_representations_v<VirtioBlkDiscardWriteZeroes>);

inline constexpr std::uint32_t VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP = 1;

/// Bytes of VIRTIO_BLK_T_GET_ID's answer: padded with zeros, no terminator if full. 5.2.6.1.
inline constexpr std::size_t VIRTIO_BLK_ID_BYTES = 20;

}  // namespace airlock::spec
