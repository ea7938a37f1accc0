// SPDX-License-Identifier: Apache-2.0
#include "guard/config_space.h"

#include <bitset>

#include "core/range.h"
#include "spec/pci.h"
#include "spec/virtio_pci.h"
#include "wire/message.h"

namespace airlock::guard {

namespace {

using vfio_user::malformed;
using vfio_user::read_struct;

constexpr std::uint32_t kPointerMask = ~3U;  // the low two bits of a capability pointer
constexpr std::uint32_t kMsixSize = 12;

struct Capability {
  std::uint32_t offset = 0;
  std::uint8_t id = 0;
};

std::uint8_t byte_at(std::span<const std::byte> config, std::size_t offset) {
  return vfio_user::require_struct<std::uint8_t>(config, offset);
}

bool has_capabilities(std::span<const std::byte> config) {
  return (byte_at(config, spec::PCI_STATUS) & spec::PCI_STATUS_CAP_LIST) != 0;
}

// The list of a conventional config space. Errors: kMalformed, with the offset of a pointer that
// leads back or out.
Result<std::vector<Capability>> walk_capabilities(std::span<const std::byte> config) {
  std::vector<Capability> found;
  if (!has_capabilities(config)) return found;
  std::bitset<spec::PCI_CFG_SPACE_SIZE> seen;
  std::uint32_t pointer = spec::PCI_CAPABILITY_LIST;
  while (true) {
    const std::uint32_t offset = byte_at(config, pointer) & kPointerMask;
    if (offset == 0) return found;
    if (offset < spec::PCI_STD_HEADER_SIZEOF || seen.test(offset)) return malformed(pointer);
    seen.set(offset);
    found.push_back({.offset = offset, .id = byte_at(config, offset)});
    pointer = offset + 1;
  }
}

// The list of an extended one, behind the first 256 bytes; offsets of its headers.
Result<std::vector<std::uint32_t>> walk_extended(std::span<const std::byte> config) {
  constexpr unsigned kNextShift = 20;
  std::vector<std::uint32_t> found;
  std::uint32_t offset = spec::PCI_CFG_SPACE_SIZE;
  // Forwards only: no list needs to lead back, and so it ends.
  while (airlock_range_within(offset, sizeof(std::uint32_t), config.size())) {
    const auto header = vfio_user::require_struct<Le32>(config, offset).get();
    if (header == 0 || header == ~std::uint32_t{0}) return found;
    found.push_back(offset);
    const std::uint32_t next = (header >> kNextShift) & kPointerMask;
    if (next == 0) return found;
    if (next <= offset) return malformed(offset);
    offset = next;
  }
  return found;
}

std::optional<VirtioPlace> place_of(const spec::VirtioPciCap& cap) {
  if (cap.bar >= spec::PCI_STD_NUM_BARS) return std::nullopt;
  return VirtioPlace{.bar = cap.bar, .offset = cap.offset.get(), .size = cap.length.get()};
}

}  // namespace

Result<void> check_config_space(std::span<const std::byte> config) {
  TRY(walk_capabilities(config));
  TRY(walk_extended(config));
  return {};
}

std::vector<ByteRange> constant_parts(std::span<const std::byte> config) {
  std::vector<ByteRange> parts{
      {.offset = spec::PCI_VENDOR_ID, .size = spec::PCI_COMMAND},
      {.offset = spec::PCI_REVISION_ID, .size = spec::PCI_CACHE_LINE_SIZE - spec::PCI_REVISION_ID},
      {.offset = spec::PCI_HEADER_TYPE, .size = 1},
      {.offset = spec::PCI_SUBSYSTEM_VENDOR_ID, .size = 4},
      {.offset = spec::PCI_CAPABILITY_LIST, .size = 1}};
  const auto capabilities = MUST(walk_capabilities(config));
  for (const Capability& capability : capabilities) {
    std::uint32_t size = 2;  // the id and the pointer
    const auto cap = read_struct<spec::VirtioPciCap>(config, capability.offset);
    if (capability.id == spec::PCI_CAP_ID_VNDR && cap &&
        cap->cfg_type != spec::VIRTIO_PCI_CAP_PCI_CFG) {
      size = std::max<std::uint32_t>(cap->cap_len, size);
    }
    if (capability.id == spec::PCI_CAP_ID_MSIX) size = kMsixSize;
    parts.push_back({.offset = capability.offset, .size = size});
  }
  for (const std::uint32_t offset : MUST(walk_extended(config)))
    parts.push_back({.offset = offset, .size = sizeof(std::uint32_t)});
  std::erase_if(parts, [&](const ByteRange& part) {
    return !airlock_range_within(part.offset, part.size, config.size());
  });
  return parts;
}

std::optional<VirtioPlaces> find_virtio(std::span<const std::byte> config) {
  const auto vendor = vfio_user::require_struct<Le16>(config, spec::PCI_VENDOR_ID).get();
  const auto device = vfio_user::require_struct<Le16>(config, spec::PCI_DEVICE_ID).get();
  if (vendor != spec::VIRTIO_PCI_VENDOR_ID || device < spec::VIRTIO_PCI_DEVICE_ID_BASE ||
      device > spec::VIRTIO_PCI_DEVICE_ID_LAST) {
    return std::nullopt;
  }
  std::optional<VirtioPlace> common;
  std::optional<VirtioPlace> notify;
  VirtioPlaces places;
  for (const Capability& capability : MUST(walk_capabilities(config))) {
    const auto cap = read_struct<spec::VirtioPciCap>(config, capability.offset);
    if (capability.id != spec::PCI_CAP_ID_VNDR || !cap) continue;
    // The first of a kind counts. VIRTIO 1.3, 4.1.4.1.
    if (cap->cfg_type == spec::VIRTIO_PCI_CAP_COMMON_CFG && !common) common = place_of(*cap);
    if (cap->cfg_type == spec::VIRTIO_PCI_CAP_DEVICE_CFG && !places.device) {
      places.device = place_of(*cap);
    }
    const auto long_cap = read_struct<spec::VirtioPciNotifyCap>(config, capability.offset);
    if (cap->cfg_type == spec::VIRTIO_PCI_CAP_NOTIFY_CFG && !notify && long_cap) {
      notify = place_of(*cap);
      places.notify_multiplier = long_cap->notify_off_multiplier.get();
    }
  }
  if (!common || !notify || common->size < spec::VIRTIO_PCI_COMMON_CFG_MIN) return std::nullopt;
  places.common = *common;
  places.notify = *notify;
  return places;
}

}  // namespace airlock::guard
