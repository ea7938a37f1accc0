// SPDX-License-Identifier: Apache-2.0
//
// PCI configuration space: the type 0 header, capabilities, and MSI-X (PCI Local Bus
// Specification 3.0, 6.1, 6.2, 6.7, 6.8.2).
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/le.h"

namespace airlock::spec {

// The type 0 header, by offset.
inline constexpr std::uint8_t PCI_VENDOR_ID = 0x00;
inline constexpr std::uint8_t PCI_DEVICE_ID = 0x02;
inline constexpr std::uint8_t PCI_COMMAND = 0x04;
inline constexpr std::uint8_t PCI_STATUS = 0x06;
inline constexpr std::uint8_t PCI_REVISION_ID = 0x08;
inline constexpr std::uint8_t PCI_CLASS_PROG = 0x09;  // 3 bytes: interface, subclass, class
inline constexpr std::uint8_t PCI_CACHE_LINE_SIZE = 0x0c;
inline constexpr std::uint8_t PCI_HEADER_TYPE = 0x0e;
inline constexpr std::uint8_t PCI_BASE_ADDRESS_0 = 0x10;
inline constexpr std::uint8_t PCI_SUBSYSTEM_VENDOR_ID = 0x2c;
inline constexpr std::uint8_t PCI_SUBSYSTEM_ID = 0x2e;
inline constexpr std::uint8_t PCI_ROM_ADDRESS = 0x30;
inline constexpr std::uint8_t PCI_CAPABILITY_LIST = 0x34;
inline constexpr std::uint8_t PCI_INTERRUPT_LINE = 0x3c;
inline constexpr std::uint8_t PCI_INTERRUPT_PIN = 0x3d;

inline constexpr std::uint16_t PCI_STD_HEADER_SIZEOF = 64;
inline constexpr std::uint16_t PCI_CFG_SPACE_SIZE = 256;
inline constexpr unsigned PCI_STD_NUM_BARS = 6;

inline constexpr std::uint16_t PCI_COMMAND_MEMORY = 1U << 1;
inline constexpr std::uint16_t PCI_COMMAND_MASTER = 1U << 2;
inline constexpr std::uint16_t PCI_COMMAND_INTX_DISABLE = 1U << 10;
inline constexpr std::uint16_t PCI_STATUS_CAP_LIST = 1U << 4;

// The low bits of a base address register.
inline constexpr std::uint32_t PCI_BASE_ADDRESS_SPACE_IO = 1U << 0;
inline constexpr std::uint32_t PCI_BASE_ADDRESS_MEM_TYPE_MASK = 3U << 1;
inline constexpr std::uint32_t PCI_BASE_ADDRESS_MEM_TYPE_64 = 2U << 1;
inline constexpr std::uint32_t PCI_BASE_ADDRESS_MEM_PREFETCH = 1U << 3;
inline constexpr std::uint32_t PCI_BASE_ADDRESS_MEM_MASK = ~0xfU;

// Class codes: class, subclass, programming interface.
inline constexpr std::uint32_t PCI_CLASS_STORAGE_SCSI = 0x010000;
inline constexpr std::uint32_t PCI_CLASS_NETWORK_ETHERNET = 0x020000;
inline constexpr std::uint32_t PCI_CLASS_COMMUNICATION_OTHER = 0x078000;
inline constexpr std::uint32_t PCI_CLASS_OTHERS = 0xff0000;

// Capability ids.
inline constexpr std::uint8_t PCI_CAP_ID_VNDR = 0x09;
inline constexpr std::uint8_t PCI_CAP_ID_MSIX = 0x11;

/// The MSI-X capability. PCI 3.0, 6.8.2.
struct PciMsixCap {
  std::uint8_t cap_id;   // +0   PCI_CAP_ID_MSIX
  std::uint8_t next;     // +1   config space offset
  Le16 message_control;  // +2   table size - 1, and PCI_MSIX_FLAGS_*
  Le32 table;            // +4   offset | BAR; the offset is a multiple of 8
  Le32 pba;              // +8   the same for the pending bits
};
static_assert(sizeof(PciMsixCap) == 12 && alignof(PciMsixCap) == 4);
static_assert(offsetof(PciMsixCap, message_control) == 2 && offsetof(PciMsixCap, pba) == 8);
static_assert(std::has_unique_object_representations_v<PciMsixCap>);

inline constexpr std::uint16_t PCI_MSIX_FLAGS_QSIZE = 0x07ff;
inline constexpr std::uint16_t PCI_MSIX_FLAGS_MASKALL = 0x4000;
inline constexpr std::uint16_t PCI_MSIX_FLAGS_ENABLE = 0x8000;
inline constexpr std::uint32_t PCI_MSIX_BIR_MASK = 7;
inline constexpr std::uint16_t PCI_MSIX_VECTORS_MAX = 2048;

/// One vector in the MSI-X table. PCI 3.0, 6.8.2.6 to 6.8.2.9.
struct PciMsixEntry {
  Le32 address_low;     // +0
  Le32 address_high;    // +4
  Le32 data;            // +8
  Le32 vector_control;  // +12  PCI_MSIX_ENTRY_CTRL_MASKBIT
};
static_assert(sizeof(PciMsixEntry) == 16 && offsetof(PciMsixEntry, vector_control) == 12);
static_assert(std::has_unique_object_representations_v<PciMsixEntry>);

inline constexpr std::uint32_t PCI_MSIX_ENTRY_CTRL_MASKBIT = 1;

}  // namespace airlock::spec
