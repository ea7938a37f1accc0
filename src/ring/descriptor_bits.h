// SPDX-License-Identifier: Apache-2.0
//
// A descriptor as the two words that it is in shared memory, in both formats. VIRTIO 1.3, 2.7.5 and
// 2.8.13.
#pragma once

#include <cstdint>

#include "core/descriptor.h"
#include "ring/queue_size.h"

namespace airlock::ring {

/// The second word of a split descriptor is length, flags, next; of a packed one length, id, flags.
constexpr airlock_descriptor decode_descriptor(std::uint64_t address, std::uint64_t rest,
                                               Format format) {
  const auto middle = static_cast<std::uint16_t>(rest >> 32);
  const auto high = static_cast<std::uint16_t>(rest >> 48);
  const bool packed = format == Format::kPacked;
  return {.address = address,
          .length = static_cast<std::uint32_t>(rest),
          .flags = packed ? high : middle,
          .next = packed ? middle : high};
}

constexpr std::uint64_t encode_descriptor_rest(const airlock_descriptor& descriptor,
                                               Format format) {
  const bool packed = format == Format::kPacked;
  const std::uint64_t middle = packed ? descriptor.next : descriptor.flags;
  const std::uint64_t high = packed ? descriptor.flags : descriptor.next;
  return descriptor.length | middle << 32 | high << 48;
}

}  // namespace airlock::ring
