// SPDX-License-Identifier: Apache-2.0
//
// The IOMMU device. VIRTIO 1.3, 5.13.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/le.h"

namespace airlock::spec {

// Queues. VIRTIO 1.3, 5.13.2.
inline constexpr std::uint16_t VIRTIO_IOMMU_QUEUE_REQUEST = 0;
inline constexpr std::uint16_t VIRTIO_IOMMU_QUEUE_EVENT = 1;

// Feature bits, by number. VIRTIO 1.3, 5.13.3.
inline constexpr unsigned VIRTIO_IOMMU_F_INPUT_RANGE = 0;
inline constexpr unsigned VIRTIO_IOMMU_F_DOMAIN_RANGE = 1;
inline constexpr unsigned VIRTIO_IOMMU_F_MAP_UNMAP = 2;
inline constexpr unsigned VIRTIO_IOMMU_F_BYPASS = 3;
inline constexpr unsigned VIRTIO_IOMMU_F_PROBE = 4;
inline constexpr unsigned VIRTIO_IOMMU_F_MMIO = 5;
inline constexpr unsigned VIRTIO_IOMMU_F_BYPASS_CONFIG = 6;

/// Addresses from start to end, the last one with them. VIRTIO 1.3, 5.13.4.
struct VirtioIommuRange64 {
  Le64 start;  // +0
  Le64 end;    // +8
};
/// The same of domains.
struct VirtioIommuRange32 {
  Le32 start;  // +0
  Le32 end;    // +4
};

/// Device configuration. VIRTIO 1.3, 5.13.4. The driver may write bypass only, and only with
/// VIRTIO_IOMMU_F_BYPASS_CONFIG.
struct VirtioIommuConfig {
  Le64 page_size_mask;              // +0   the lowest bit is the granularity of mappings
  VirtioIommuRange64 input_range;   // +8   VIRTIO_IOMMU_F_INPUT_RANGE
  VirtioIommuRange32 domain_range;  // +24  VIRTIO_IOMMU_F_DOMAIN_RANGE
  Le32 probe_size;                  // +32  bytes, VIRTIO_IOMMU_F_PROBE
  std::uint8_t bypass = 0;          // +36  0 or 1, VIRTIO_IOMMU_F_BYPASS_CONFIG
  std::uint8_t reserved[3] = {};    // +37
};
static_assert(sizeof(VirtioIommuConfig) == 40 && alignof(VirtioIommuConfig) == 8);
static_assert(offsetof(VirtioIommuConfig, input_range) == 8);
static_assert(offsetof(VirtioIommuConfig, domain_range) == 24);
static_assert(offsetof(VirtioIommuConfig, probe_size) == 32);
static_assert(offsetof(VirtioIommuConfig, bypass) == 36);
static_assert(std::has_unique_object_representations_v<VirtioIommuConfig>);

// Types of requests. VIRTIO 1.3, 5.13.6.
inline constexpr std::uint8_t VIRTIO_IOMMU_T_ATTACH = 1;
inline constexpr std::uint8_t VIRTIO_IOMMU_T_DETACH = 2;
inline constexpr std::uint8_t VIRTIO_IOMMU_T_MAP = 3;
inline constexpr std::uint8_t VIRTIO_IOMMU_T_UNMAP = 4;
inline constexpr std::uint8_t VIRTIO_IOMMU_T_PROBE = 5;

// Status. VIRTIO 1.3, 5.13.6.
inline constexpr std::uint8_t VIRTIO_IOMMU_S_OK = 0;
inline constexpr std::uint8_t VIRTIO_IOMMU_S_IOERR = 1;
inline constexpr std::uint8_t VIRTIO_IOMMU_S_UNSUPP = 2;
inline constexpr std::uint8_t VIRTIO_IOMMU_S_DEVERR = 3;
inline constexpr std::uint8_t VIRTIO_IOMMU_S_INVAL = 4;
inline constexpr std::uint8_t VIRTIO_IOMMU_S_RANGE = 5;
inline constexpr std::uint8_t VIRTIO_IOMMU_S_NOENT = 6;
inline constexpr std::uint8_t VIRTIO_IOMMU_S_FAULT = 7;
inline constexpr std::uint8_t VIRTIO_IOMMU_S_NOMEM = 8;

/// What a request starts with. VIRTIO 1.3, 5.13.6. Written by the driver, as all of a request but
/// the properties of a probe, and its tail.
struct VirtioIommuReqHead {
  std::uint8_t type = 0;          // +0  VIRTIO_IOMMU_T_*
  std::uint8_t reserved[3] = {};  // +1
};
static_assert(sizeof(VirtioIommuReqHead) == 4);

/// What it ends with. Written by the device.
struct VirtioIommuReqTail {
  std::uint8_t status = 0;        // +0  VIRTIO_IOMMU_S_*
  std::uint8_t reserved[3] = {};  // +1
};
static_assert(sizeof(VirtioIommuReqTail) == 4);
static_assert(std::has_unique_object_representations_v<VirtioIommuReqTail>);

/// VIRTIO 1.3, 5.13.6.3.
struct VirtioIommuReqAttach {
  VirtioIommuReqHead head;  // +0
  Le32 domain;              // +4
  Le32 endpoint;            // +8
  Le32 flags;               // +12  VIRTIO_IOMMU_ATTACH_F_*
  Le32 reserved;            // +16
};
static_assert(sizeof(VirtioIommuReqAttach) == 20 && offsetof(VirtioIommuReqAttach, flags) == 12);
static_assert(std::has_unique_object_representations_v<VirtioIommuReqAttach>);

inline constexpr std::uint32_t VIRTIO_IOMMU_ATTACH_F_BYPASS = 1;

/// VIRTIO 1.3, 5.13.6.4.
struct VirtioIommuReqDetach {
  VirtioIommuReqHead head;        // +0
  Le32 domain;                    // +4
  Le32 endpoint;                  // +8
  std::uint8_t reserved[8] = {};  // +12
};
static_assert(sizeof(VirtioIommuReqDetach) == 20 && offsetof(VirtioIommuReqDetach, endpoint) == 8);
static_assert(std::has_unique_object_representations_v<VirtioIommuReqDetach>);

/// 64 bits at any multiple of four: a request's length is no multiple of eight.
struct Le64Halves {
  Le32 low;   // +0
  Le32 high;  // +4

  constexpr Le64Halves() = default;
  constexpr explicit Le64Halves(std::uint64_t value)
      : low(static_cast<std::uint32_t>(value)), high(static_cast<std::uint32_t>(value >> 32)) {}
  [[nodiscard]] constexpr std::uint64_t get() const {
    return std::uint64_t{high.get()} << 32 | low.get();
  }
};
static_assert(sizeof(Le64Halves) == 8 && alignof(Le64Halves) == 4);

/// VIRTIO 1.3, 5.13.6.5.
struct VirtioIommuReqMap {
  VirtioIommuReqHead head;  // +0
  Le32 domain;              // +4
  Le64Halves virt_start;    // +8
  Le64Halves virt_end;      // +16  the last address
  Le64Halves phys_start;    // +24
  Le32 flags;               // +32  VIRTIO_IOMMU_MAP_F_*
};
static_assert(sizeof(VirtioIommuReqMap) == 36 && offsetof(VirtioIommuReqMap, virt_start) == 8);
static_assert(offsetof(VirtioIommuReqMap, phys_start) == 24);
static_assert(std::has_unique_object_representations_v<VirtioIommuReqMap>);

inline constexpr std::uint32_t VIRTIO_IOMMU_MAP_F_READ = 1;
inline constexpr std::uint32_t VIRTIO_IOMMU_MAP_F_WRITE = 2;
inline constexpr std::uint32_t VIRTIO_IOMMU_MAP_F_MMIO = 4;

/// VIRTIO 1.3, 5.13.6.6.
struct VirtioIommuReqUnmap {
  VirtioIommuReqHead head;  // +0
  Le32 domain;              // +4
  Le64Halves virt_start;    // +8
  Le64Halves virt_end;      // +16  the last address
  Le32 reserved;            // +24
};
static_assert(sizeof(VirtioIommuReqUnmap) == 28 && offsetof(VirtioIommuReqUnmap, virt_end) == 16);
static_assert(std::has_unique_object_representations_v<VirtioIommuReqUnmap>);

/// VIRTIO 1.3, 5.13.6.7. The device writes probe_size bytes of properties before the tail.
struct VirtioIommuReqProbe {
  VirtioIommuReqHead head;         // +0
  Le32 endpoint;                   // +4
  std::uint8_t reserved[64] = {};  // +8
};
static_assert(sizeof(VirtioIommuReqProbe) == 72 && offsetof(VirtioIommuReqProbe, reserved) == 8);
static_assert(std::has_unique_object_representations_v<VirtioIommuReqProbe>);

/// What a property starts with. VIRTIO 1.3, 5.13.6.7. Written by the device.
struct VirtioIommuProbeProperty {
  Le16 type;    // +0  VIRTIO_IOMMU_PROBE_T_* in the lower 12 bits; the others are reserved
  Le16 length;  // +2  bytes that follow
};
static_assert(sizeof(VirtioIommuProbeProperty) == 4);

inline constexpr std::uint16_t VIRTIO_IOMMU_PROBE_T_NONE = 0;
inline constexpr std::uint16_t VIRTIO_IOMMU_PROBE_T_RESV_MEM = 1;

/// Addresses that can't be mapped. VIRTIO 1.3, 5.13.6.8.1.
struct VirtioIommuProbeResvMem {
  VirtioIommuProbeProperty head;  // +0
  std::uint8_t subtype = 0;       // +4  VIRTIO_IOMMU_RESV_MEM_T_*
  std::uint8_t reserved[3] = {};  // +5
  Le64 start;                     // +8
  Le64 end;                       // +16  the last address
};
static_assert(sizeof(VirtioIommuProbeResvMem) == 24);
static_assert(offsetof(VirtioIommuProbeResvMem, start) == 8);
static_assert(std::has_unique_object_representations_v<VirtioIommuProbeResvMem>);

inline constexpr std::uint8_t VIRTIO_IOMMU_RESV_MEM_T_RESERVED = 0;
inline constexpr std::uint8_t VIRTIO_IOMMU_RESV_MEM_T_MSI = 1;

/// What the event queue carries. VIRTIO 1.3, 5.13.6.9. Written by the device.
struct VirtioIommuFault {
  std::uint8_t reason = 0;        // +0   VIRTIO_IOMMU_FAULT_R_*
  std::uint8_t reserved[3] = {};  // +1
  Le32 flags;                     // +4   VIRTIO_IOMMU_FAULT_F_*
  Le32 endpoint;                  // +8
  Le32 reserved1;                 // +12
  Le64 address;                   // +16  with VIRTIO_IOMMU_FAULT_F_ADDRESS
};
static_assert(sizeof(VirtioIommuFault) == 24 && offsetof(VirtioIommuFault, address) == 16);
static_assert(std::has_unique_object_representations_v<VirtioIommuFault>);

inline constexpr std::uint8_t VIRTIO_IOMMU_FAULT_R_UNKNOWN = 0;
inline constexpr std::uint8_t VIRTIO_IOMMU_FAULT_R_DOMAIN = 1;
inline constexpr std::uint8_t VIRTIO_IOMMU_FAULT_R_MAPPING = 2;
inline constexpr std::uint32_t VIRTIO_IOMMU_FAULT_F_READ = 1;
inline constexpr std::uint32_t VIRTIO_IOMMU_FAULT_F_WRITE = 2;
inline constexpr std::uint32_t VIRTIO_IOMMU_FAULT_F_ADDRESS = 0x100;

}  // namespace airlock::spec
