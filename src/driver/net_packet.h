// SPDX-License-Identifier: Apache-2.0
//
// What goes into a network card's queues and what comes out of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/error.h"
#include "pool/buffer.h"

namespace airlock::driver {

/// A checksum that is still to be put into a frame: of all bytes from `start` on, at `start` +
/// `offset`, where the sum of the pseudo header stands. VIRTIO 1.3, 5.1.6.2.
struct NetChecksum {
  std::uint16_t start = 0;
  std::uint16_t offset = 0;

  friend bool operator==(const NetChecksum&, const NetChecksum&) = default;
};

/// A received frame: the driver's own copy, valid until the next poll() of its queue. What is in it
/// came from the network, through a device, and is to be trusted as little.
struct NetReceived {
  std::span<const std::byte> frame;  // 14 bytes to kReceivedFrameMax
  /// It lies inside the frame. Only from a device that may lack them (NetInfo).
  std::optional<NetChecksum> missing_checksum;
  bool checksum_checked = false;  // by the device, as it says
};

/// A received frame where the device put it, in a buffer that is the receiver's of it from now on:
/// nobody reuses the memory while it holds the buffer, or a request has it in use. But any device
/// that can touch the region can change it at any time: data, never anything to decide by. Only its
/// length is known, and what was said of its checksum.
struct NetReceivedInPlace {
  pool::InPlaceBuffer buffer;
  std::span<std::byte> frame;  // in `buffer`; 14 bytes at least
  std::optional<NetChecksum> missing_checksum;
  bool checksum_checked = false;
};

/// A frame to be sent. Memory of an InPlaceBuffer is used as it is, and must stay until the
/// completion; anything else is copied, and free at once.
struct NetFrame {
  std::span<const std::byte> bytes;
  // NOLINTNEXTLINE(readability-redundant-member-init): GCC wants one, where a caller leaves it out
  std::optional<NetChecksum> missing_checksum = {};  // for a device that completes them
  std::uint64_t cookie = 0;                          // the caller's, comes back
};

/// A frame that the device is done with: each that was submitted has exactly one.
struct NetSent {
  std::uint64_t id = 0;  // as returned by submit()
  std::uint64_t cookie = 0;
  std::optional<Error> error;  // nobody knows whether it was sent
};

}  // namespace airlock::driver
