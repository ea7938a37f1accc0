// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace airlock::device {

/// Who knows the device configuration of a type: the backend, or the front end.
enum class ConfigOwner : std::uint8_t { kBackend, kNet, kFs, kVsock };

/// A device type, as far as a vhost-user front end has to know it. VIRTIO 1.3, 5.
struct DeviceKind {
  std::string_view name;
  std::uint16_t virtio_id = 0;
  std::uint32_t pci_class = 0;
  std::uint16_t queues_fixed = 0;     // that it always has
  std::uint16_t queues_each = 0;      // more for each of --queues
  std::uint16_t queues_unserved = 0;  // of all, the last ones, that a backend never serves
  std::uint32_t config_bytes = 0;
  std::uint32_t writable_first = 0;  // of it, what a driver may write
  std::uint32_t writable_end = 0;
  ConfigOwner owner = ConfigOwner::kBackend;
  /// Backends finish requests in another order than they took them. One that dies and kept no
  /// record leaves nobody who knows which.
  bool reorders = false;
  /// The driver begins a session (of FUSE), and a backend that dies takes it along.
  bool has_session = false;
};

/// All types that have a name here.
[[nodiscard]] std::span<const DeviceKind> device_kinds();

/// By its name, or the number of its virtio id. A number without a name is a type with as many
/// queues as --queues says and 256 bytes of configuration, if the backend has any. Nothing:
/// neither.
[[nodiscard]] std::optional<DeviceKind> find_device_kind(std::string_view name);

/// "blk, net, ...".
[[nodiscard]] std::string device_kind_names();

}  // namespace airlock::device
