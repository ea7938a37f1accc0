// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"

namespace airlock::guard {

/// Looks whether a VMM can walk the capability lists of this config space (256 or 4096 bytes): they
/// end, and lie where lists may. VMMs believe them.
/// Errors: kMalformed with the offset of the pointer that is wrong.
Result<void> check_config_space(std::span<const std::byte> config);

struct ByteRange {
  std::uint32_t offset = 0;
  std::uint32_t size = 0;
};

/// The parts of a config space, checked, that no device changes: who it is and its capabilities,
/// but for what the driver writes there. They are the guard's to say, every time.
[[nodiscard]] std::vector<ByteRange> constant_parts(std::span<const std::byte> config);

/// Where a structure of virtio's lies. Bytes.
struct VirtioPlace {
  std::uint8_t bar = 0;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

/// A virtio device's structures, as far as the guard has to do with them.
/// VIRTIO 1.3, 4.1.4.
struct VirtioPlaces {
  VirtioPlace common;
  VirtioPlace notify;
  std::uint32_t notify_multiplier = 0;  // bytes between the notify addresses
  std::optional<VirtioPlace> device;
};

/// Nothing if the device is no modern virtio device.
[[nodiscard]] std::optional<VirtioPlaces> find_virtio(std::span<const std::byte> config);

}  // namespace airlock::guard
