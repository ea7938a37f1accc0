// SPDX-License-Identifier: Apache-2.0
//
// The console device. VIRTIO 1.3, 5.3.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/le.h"

namespace airlock::spec {

// Feature bits, by number. VIRTIO 1.3, 5.3.3.
inline constexpr unsigned VIRTIO_CONSOLE_F_SIZE = 0;
inline constexpr unsigned VIRTIO_CONSOLE_F_MULTIPORT = 1;
inline constexpr unsigned VIRTIO_CONSOLE_F_EMERG_WRITE = 2;

// Queues of port 0 and of control messages; those of port n are 2 * n + 2 and the one after it.
// VIRTIO 1.3, 5.3.2.
inline constexpr std::uint16_t VIRTIO_CONSOLE_RECEIVEQ = 0;
inline constexpr std::uint16_t VIRTIO_CONSOLE_TRANSMITQ = 1;
inline constexpr std::uint16_t VIRTIO_CONSOLE_CONTROL_RECEIVEQ = 2;
inline constexpr std::uint16_t VIRTIO_CONSOLE_CONTROL_TRANSMITQ = 3;

/// Device configuration. VIRTIO 1.3, 5.3.4. A field is valid iff its feature was negotiated, and
/// the driver may write emerg_wr whether it was or not.
struct VirtioConsoleConfig {
  Le16 cols;          // +0   characters
  Le16 rows;          // +2   characters
  Le32 max_nr_ports;  // +4
  Le32 emerg_wr;      // +8   written by the driver: a character, in the lowest byte
};
static_assert(sizeof(VirtioConsoleConfig) == 12 && offsetof(VirtioConsoleConfig, emerg_wr) == 8);
static_assert(std::has_unique_object_representations_v<VirtioConsoleConfig>);

/// A control message, either way; a name or a size follows where the event has one.
/// VIRTIO 1.3, 5.3.6.2.
struct VirtioConsoleControl {
  Le32 id;     // +0  port
  Le16 event;  // +4  VIRTIO_CONSOLE_*
  Le16 value;  // +6
};
static_assert(sizeof(VirtioConsoleControl) == 8 && offsetof(VirtioConsoleControl, value) == 6);
static_assert(std::has_unique_object_representations_v<VirtioConsoleControl>);

// VirtioConsoleControl::event.
inline constexpr std::uint16_t VIRTIO_CONSOLE_DEVICE_READY = 0;   // by the driver
inline constexpr std::uint16_t VIRTIO_CONSOLE_DEVICE_ADD = 1;     // by the device
inline constexpr std::uint16_t VIRTIO_CONSOLE_DEVICE_REMOVE = 2;  // by the device
inline constexpr std::uint16_t VIRTIO_CONSOLE_PORT_READY = 3;     // by the driver
inline constexpr std::uint16_t VIRTIO_CONSOLE_CONSOLE_PORT = 4;   // by the device
inline constexpr std::uint16_t VIRTIO_CONSOLE_RESIZE = 5;         // by the device; a size follows
inline constexpr std::uint16_t VIRTIO_CONSOLE_PORT_OPEN = 6;      // by both
inline constexpr std::uint16_t VIRTIO_CONSOLE_PORT_NAME = 7;      // by the device; a name follows

/// What follows VIRTIO_CONSOLE_RESIZE. VIRTIO 1.3, 5.3.6.2.
struct VirtioConsoleResize {
  Le16 cols;  // +0
  Le16 rows;  // +2
};
static_assert(sizeof(VirtioConsoleResize) == 4);
static_assert(std::has_unique_object_representations_v<VirtioConsoleResize>);

}  // namespace airlock::spec
