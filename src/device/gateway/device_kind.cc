// SPDX-License-Identifier: Apache-2.0
#include "device/gateway/device_kind.h"

#include <charconv>

#include "spec/pci.h"
#include "spec/virtio.h"

namespace airlock::device {

namespace {

// Sizes of configuration are those that backends have known for long: one may refuse to tell more
// than it knows of.
constexpr DeviceKind kKinds[] = {
    {.name = "net",
     .virtio_id = spec::VIRTIO_ID_NET,
     .pci_class = spec::PCI_CLASS_NETWORK_ETHERNET,
     .queues_fixed = 2,
     .config_bytes = 24,
     .owner = ConfigOwner::kNet},
    {.name = "blk",
     .virtio_id = spec::VIRTIO_ID_BLOCK,
     .pci_class = spec::PCI_CLASS_STORAGE_SCSI,
     .queues_each = 1,
     .config_bytes = 60,
     .writable_first = 32,
     .writable_end = 33,
     .reorders = true},
    {.name = "console",
     .virtio_id = spec::VIRTIO_ID_CONSOLE,
     .pci_class = spec::PCI_CLASS_COMMUNICATION_OTHER,
     .queues_fixed = 2,
     .config_bytes = 12,
     .writable_first = 8,
     .writable_end = 12},
    {.name = "rng",
     .virtio_id = spec::VIRTIO_ID_RNG,
     .pci_class = spec::PCI_CLASS_OTHERS,
     .queues_fixed = 1},
    {.name = "scsi",
     .virtio_id = 8,
     .pci_class = spec::PCI_CLASS_STORAGE_SCSI,
     .queues_fixed = 2,
     .queues_each = 1,
     .config_bytes = 36,
     .writable_first = 20,
     .writable_end = 28,
     .reorders = true},
    {.name = "gpu",
     .virtio_id = 16,
     .pci_class = 0x038000,
     .queues_fixed = 2,
     .config_bytes = 16,
     .writable_first = 4,
     .writable_end = 8},
    {.name = "input",
     .virtio_id = 18,
     .pci_class = 0x098000,
     .queues_fixed = 2,
     .config_bytes = 136,
     .writable_first = 0,
     .writable_end = 2},
    {.name = "vsock",
     .virtio_id = spec::VIRTIO_ID_VSOCK,
     .pci_class = spec::PCI_CLASS_COMMUNICATION_OTHER,
     .queues_fixed = 3,
     .queues_unserved = 1,
     .config_bytes = 8,
     .owner = ConfigOwner::kVsock},
    {.name = "crypto",
     .virtio_id = 20,
     .pci_class = spec::PCI_CLASS_OTHERS,
     .queues_fixed = 1,
     .queues_each = 1,
     .config_bytes = 56,
     .reorders = true},
    {.name = "sound",
     .virtio_id = 25,
     .pci_class = 0x040100,
     .queues_fixed = 4,
     .config_bytes = 12},
    {.name = "fs",
     .virtio_id = 26,
     .pci_class = 0x018000,
     .queues_fixed = 1,
     .queues_each = 1,
     .config_bytes = 40,
     .owner = ConfigOwner::kFs,
     .has_session = true},
    {.name = "rpmb",
     .virtio_id = 28,
     .pci_class = spec::PCI_CLASS_OTHERS,
     .queues_fixed = 1,
     .config_bytes = 3},
    {.name = "scmi", .virtio_id = 32, .pci_class = spec::PCI_CLASS_OTHERS, .queues_fixed = 2},
    {.name = "i2c", .virtio_id = 34, .pci_class = spec::PCI_CLASS_OTHERS, .queues_fixed = 1},
    {.name = "can",
     .virtio_id = 36,
     .pci_class = spec::PCI_CLASS_OTHERS,
     .queues_fixed = 3,
     .config_bytes = 2},
    {.name = "gpio",
     .virtio_id = 41,
     .pci_class = spec::PCI_CLASS_OTHERS,
     .queues_fixed = 2,
     .config_bytes = 8},
};

// What a modern PCI device id has room for.
constexpr std::uint16_t kVirtioIdMax = 63;

}  // namespace

std::span<const DeviceKind> device_kinds() {
  return kKinds;
}

std::optional<DeviceKind> find_device_kind(std::string_view name) {
  for (const DeviceKind& kind : kKinds) {
    if (kind.name == name) return kind;
  }
  std::uint16_t number = 0;
  const auto [end, error] = std::from_chars(name.begin(), name.end(), number);
  if (error != std::errc() || end != name.end() || number == 0 || number > kVirtioIdMax) {
    return std::nullopt;
  }
  for (const DeviceKind& kind : kKinds) {
    if (kind.virtio_id == number) return kind;
  }
  return DeviceKind{.name = "device",
                    .virtio_id = number,
                    .pci_class = spec::PCI_CLASS_OTHERS,
                    .queues_each = 1,
                    .config_bytes = 256,
                    .writable_end = 256,
                    .reorders = true};
}

std::string device_kind_names() {
  std::string names;
  for (const DeviceKind& kind : kKinds)
    names.append(names.empty() ? "" : ", ").append(kind.name);
  return names;
}

}  // namespace airlock::device
