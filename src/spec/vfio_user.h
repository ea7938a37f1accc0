// SPDX-License-Identifier: Apache-2.0
//
// vfio-user wire structs and constants: QEMU's docs/interop/vfio-user.rst, 2025-10. Both ends are
// on one host, so the protocol is in host endianness and the fields are plain integers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace airlock::spec {

// Commands.
inline constexpr std::uint16_t VFIO_USER_VERSION = 1;
inline constexpr std::uint16_t VFIO_USER_DMA_MAP = 2;
inline constexpr std::uint16_t VFIO_USER_DMA_UNMAP = 3;
inline constexpr std::uint16_t VFIO_USER_DEVICE_GET_INFO = 4;
inline constexpr std::uint16_t VFIO_USER_DEVICE_GET_REGION_INFO = 5;
inline constexpr std::uint16_t VFIO_USER_DEVICE_GET_REGION_IO_FDS = 6;
inline constexpr std::uint16_t VFIO_USER_DEVICE_GET_IRQ_INFO = 7;
inline constexpr std::uint16_t VFIO_USER_DEVICE_SET_IRQS = 8;
inline constexpr std::uint16_t VFIO_USER_REGION_READ = 9;
inline constexpr std::uint16_t VFIO_USER_REGION_WRITE = 10;
// These two ask for guest memory: known here only so that they can be recognised and refused.
inline constexpr std::uint16_t VFIO_USER_DMA_READ = 11;
inline constexpr std::uint16_t VFIO_USER_DMA_WRITE = 12;
inline constexpr std::uint16_t VFIO_USER_DEVICE_RESET = 13;
inline constexpr std::uint16_t VFIO_USER_DIRTY_PAGES = 14;  // gone from the specification
inline constexpr std::uint16_t VFIO_USER_REGION_WRITE_MULTI = 15;
inline constexpr std::uint16_t VFIO_USER_DEVICE_FEATURE = 16;
inline constexpr std::uint16_t VFIO_USER_MIG_DATA_READ = 17;
inline constexpr std::uint16_t VFIO_USER_MIG_DATA_WRITE = 18;

// Header flags.
inline constexpr std::uint32_t VFIO_USER_F_TYPE_MASK = 0xf;
inline constexpr std::uint32_t VFIO_USER_F_TYPE_COMMAND = 0;
inline constexpr std::uint32_t VFIO_USER_F_TYPE_REPLY = 1;
inline constexpr std::uint32_t VFIO_USER_F_NO_REPLY = 0x10;
inline constexpr std::uint32_t VFIO_USER_F_ERROR = 0x20;

/// In front of every message.
struct VfioUserHeader {
  std::uint16_t message_id;    // +0   chosen by the sender, echoed by the reply; may repeat
  std::uint16_t command;       // +2   VFIO_USER_*; echoed by the reply
  std::uint32_t message_size;  // +4   bytes, with this header
  std::uint32_t flags;         // +8   VFIO_USER_F_*
  std::uint32_t error;         // +12  errno, valid iff flags & VFIO_USER_F_ERROR
};
static_assert(sizeof(VfioUserHeader) == 16 && offsetof(VfioUserHeader, message_size) == 4 &&
              offsetof(VfioUserHeader, flags) == 8 && offsetof(VfioUserHeader, error) == 12);
static_assert(std::has_unique_object_representations_v<VfioUserHeader>);

/// VERSION, both ways. A NUL-terminated JSON text may follow.
struct VfioUserVersion {
  std::uint16_t major;  // +0
  std::uint16_t minor;  // +2
};
static_assert(sizeof(VfioUserVersion) == 4 && offsetof(VfioUserVersion, minor) == 2);
static_assert(std::has_unique_object_representations_v<VfioUserVersion>);

// What holds where VERSION's JSON does not say otherwise.
inline constexpr std::uint32_t VFIO_USER_DEFAULT_MAX_MSG_FDS = 1;
inline constexpr std::uint32_t VFIO_USER_DEFAULT_MAX_DATA_XFER_SIZE = 1048576;  // bytes

// DMA_MAP flags.
inline constexpr std::uint32_t VFIO_USER_F_DMA_REGION_READ = 1;
inline constexpr std::uint32_t VFIO_USER_F_DMA_REGION_WRITE = 2;

/// DMA_MAP request; one fd may come with it. The reply has no payload.
struct VfioUserDmaMap {
  std::uint32_t argsz;    // +0
  std::uint32_t flags;    // +4   VFIO_USER_F_DMA_REGION_*
  std::uint64_t offset;   // +8   in the fd
  std::uint64_t address;  // +16  as the device sees it
  std::uint64_t size;     // +24  bytes
};
static_assert(sizeof(VfioUserDmaMap) == 32 && offsetof(VfioUserDmaMap, offset) == 8 &&
              offsetof(VfioUserDmaMap, address) == 16 && offsetof(VfioUserDmaMap, size) == 24);
static_assert(std::has_unique_object_representations_v<VfioUserDmaMap>);

// DMA_UNMAP flags.
inline constexpr std::uint32_t VFIO_USER_F_DMA_UNMAP_DIRTY_BITMAP = 1;
inline constexpr std::uint32_t VFIO_USER_F_DMA_UNMAP_ALL = 2;

/// DMA_UNMAP, both ways: the reply echoes the request.
struct VfioUserDmaUnmap {
  std::uint32_t argsz;    // +0
  std::uint32_t flags;    // +4   VFIO_USER_F_DMA_UNMAP_*
  std::uint64_t address;  // +8
  std::uint64_t size;     // +16  bytes
};
static_assert(sizeof(VfioUserDmaUnmap) == 24 && offsetof(VfioUserDmaUnmap, address) == 8 &&
              offsetof(VfioUserDmaUnmap, size) == 16);
static_assert(std::has_unique_object_representations_v<VfioUserDmaUnmap>);

// DEVICE_GET_INFO flags.
inline constexpr std::uint32_t VFIO_DEVICE_FLAGS_RESET = 1;
inline constexpr std::uint32_t VFIO_DEVICE_FLAGS_PCI = 2;

/// DEVICE_GET_INFO, both ways.
struct VfioUserDeviceInfo {
  std::uint32_t argsz;        // +0
  std::uint32_t flags;        // +4   VFIO_DEVICE_FLAGS_*
  std::uint32_t num_regions;  // +8
  std::uint32_t num_irqs;     // +12
};
static_assert(sizeof(VfioUserDeviceInfo) == 16 && offsetof(VfioUserDeviceInfo, flags) == 4 &&
              offsetof(VfioUserDeviceInfo, num_irqs) == 12);
static_assert(std::has_unique_object_representations_v<VfioUserDeviceInfo>);

// Regions of a PCI device: 0 to 5 are the BARs.
inline constexpr std::uint32_t VFIO_PCI_BAR0_REGION_INDEX = 0;
inline constexpr std::uint32_t VFIO_PCI_BAR5_REGION_INDEX = 5;
inline constexpr std::uint32_t VFIO_PCI_ROM_REGION_INDEX = 6;
inline constexpr std::uint32_t VFIO_PCI_CONFIG_REGION_INDEX = 7;
inline constexpr std::uint32_t VFIO_PCI_VGA_REGION_INDEX = 8;
inline constexpr std::uint32_t VFIO_PCI_NUM_REGIONS = 9;

// Interrupts of a PCI device.
inline constexpr std::uint32_t VFIO_PCI_INTX_IRQ_INDEX = 0;
inline constexpr std::uint32_t VFIO_PCI_MSI_IRQ_INDEX = 1;
inline constexpr std::uint32_t VFIO_PCI_MSIX_IRQ_INDEX = 2;
inline constexpr std::uint32_t VFIO_PCI_ERR_IRQ_INDEX = 3;
inline constexpr std::uint32_t VFIO_PCI_REQ_IRQ_INDEX = 4;
inline constexpr std::uint32_t VFIO_PCI_NUM_IRQS = 5;

// DEVICE_GET_REGION_INFO flags.
inline constexpr std::uint32_t VFIO_REGION_INFO_FLAG_READ = 1;
inline constexpr std::uint32_t VFIO_REGION_INFO_FLAG_WRITE = 2;
inline constexpr std::uint32_t VFIO_REGION_INFO_FLAG_MMAP = 4;
inline constexpr std::uint32_t VFIO_REGION_INFO_FLAG_CAPS = 8;

/// DEVICE_GET_REGION_INFO, both ways. Capabilities and one fd may come with the reply.
struct VfioUserRegionInfo {
  std::uint32_t argsz;       // +0   of a reply: bytes that all of it takes
  std::uint32_t flags;       // +4   VFIO_REGION_INFO_FLAG_*
  std::uint32_t index;       // +8
  std::uint32_t cap_offset;  // +12  of the first capability, from the start of this struct
  std::uint64_t size;        // +16  bytes
  std::uint64_t offset;      // +24  in the fd, of the region's first byte
};
static_assert(sizeof(VfioUserRegionInfo) == 32 && offsetof(VfioUserRegionInfo, cap_offset) == 12 &&
              offsetof(VfioUserRegionInfo, size) == 16 &&
              offsetof(VfioUserRegionInfo, offset) == 24);
static_assert(std::has_unique_object_representations_v<VfioUserRegionInfo>);

/// In front of every capability of a region.
struct VfioInfoCapHeader {
  std::uint16_t id;       // +0
  std::uint16_t version;  // +2
  std::uint32_t next;     // +4   from the start of the region info; 0 ends
};
static_assert(sizeof(VfioInfoCapHeader) == 8 && offsetof(VfioInfoCapHeader, next) == 4);
static_assert(std::has_unique_object_representations_v<VfioInfoCapHeader>);

inline constexpr std::uint16_t VFIO_REGION_INFO_CAP_SPARSE_MMAP = 1;
inline constexpr std::uint16_t VFIO_REGION_INFO_CAP_SPARSE_MMAP_VERSION = 1;

/// Which parts of a region may be mapped: nr_areas areas follow.
struct VfioRegionInfoCapSparseMmap {
  VfioInfoCapHeader header;  // +0
  std::uint32_t nr_areas;    // +8
  std::uint32_t reserved;    // +12
};
static_assert(sizeof(VfioRegionInfoCapSparseMmap) == 16 &&
              offsetof(VfioRegionInfoCapSparseMmap, nr_areas) == 8);
static_assert(std::has_unique_object_representations_v<VfioRegionInfoCapSparseMmap>);

struct VfioRegionSparseMmapArea {
  std::uint64_t offset;  // +0   in the region
  std::uint64_t size;    // +8   bytes
};
static_assert(sizeof(VfioRegionSparseMmapArea) == 16 &&
              offsetof(VfioRegionSparseMmapArea, size) == 8);
static_assert(std::has_unique_object_representations_v<VfioRegionSparseMmapArea>);

// DEVICE_GET_IRQ_INFO flags.
inline constexpr std::uint32_t VFIO_IRQ_INFO_EVENTFD = 1;
inline constexpr std::uint32_t VFIO_IRQ_INFO_MASKABLE = 2;
inline constexpr std::uint32_t VFIO_IRQ_INFO_AUTOMASKED = 4;
inline constexpr std::uint32_t VFIO_IRQ_INFO_NORESIZE = 8;

/// DEVICE_GET_IRQ_INFO, both ways.
struct VfioUserIrqInfo {
  std::uint32_t argsz;  // +0
  std::uint32_t flags;  // +4   VFIO_IRQ_INFO_*
  std::uint32_t index;  // +8
  std::uint32_t count;  // +12
};
static_assert(sizeof(VfioUserIrqInfo) == 16 && offsetof(VfioUserIrqInfo, index) == 8 &&
              offsetof(VfioUserIrqInfo, count) == 12);
static_assert(std::has_unique_object_representations_v<VfioUserIrqInfo>);

// DEVICE_SET_IRQS flags: exactly one of the first three, exactly one of the others.
inline constexpr std::uint32_t VFIO_IRQ_SET_DATA_NONE = 1;
inline constexpr std::uint32_t VFIO_IRQ_SET_DATA_BOOL = 2;
inline constexpr std::uint32_t VFIO_IRQ_SET_DATA_EVENTFD = 4;
inline constexpr std::uint32_t VFIO_IRQ_SET_ACTION_MASK = 8;
inline constexpr std::uint32_t VFIO_IRQ_SET_ACTION_UNMASK = 0x10;
inline constexpr std::uint32_t VFIO_IRQ_SET_ACTION_TRIGGER = 0x20;
inline constexpr std::uint32_t VFIO_IRQ_SET_DATA_TYPE_MASK = 0x7;
inline constexpr std::uint32_t VFIO_IRQ_SET_ACTION_TYPE_MASK = 0x38;

/// DEVICE_SET_IRQS request; u8[count] follows with DATA_BOOL, fds come with DATA_EVENTFD. The reply
/// has no payload.
struct VfioUserIrqSet {
  std::uint32_t argsz;  // +0
  std::uint32_t flags;  // +4   VFIO_IRQ_SET_*
  std::uint32_t index;  // +8
  std::uint32_t start;  // +12
  std::uint32_t count;  // +16
};
static_assert(sizeof(VfioUserIrqSet) == 20 && offsetof(VfioUserIrqSet, index) == 8 &&
              offsetof(VfioUserIrqSet, count) == 16);
static_assert(std::has_unique_object_representations_v<VfioUserIrqSet>);

/// REGION_READ and REGION_WRITE, both ways: the data follows the write request and the read reply.
struct VfioUserRegionAccess {
  std::uint64_t offset;  // +0   in the region
  std::uint32_t region;  // +8
  std::uint32_t count;   // +12  bytes
};
static_assert(sizeof(VfioUserRegionAccess) == 16 && offsetof(VfioUserRegionAccess, region) == 8 &&
              offsetof(VfioUserRegionAccess, count) == 12);
static_assert(std::has_unique_object_representations_v<VfioUserRegionAccess>);

}  // namespace airlock::spec
