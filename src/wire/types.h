// SPDX-License-Identifier: Apache-2.0
//
// Values that a client and a server of vfio-user both speak of.
#pragma once

#include <cstdint>

namespace airlock::vfio_user {

/// Memory of the client's that it lets the device use, as a DMA_MAP describes it.
struct DmaRange {
  std::uint64_t address = 0;      // as the device sees it; the last byte's is 2^64 - 1 at most
  std::uint64_t size = 0;         // bytes, not zero
  std::uint64_t file_offset = 0;  // in the fd, if one came with it
  bool readable = false;
  bool writable = false;
};

/// A part of a region that a client may map.
struct MappableArea {
  std::uint64_t offset = 0;  // in the region; page aligned
  std::uint64_t size = 0;    // bytes, not zero; page aligned
};

/// A register of a region, writes to which have an eventfd instead: whatever the value.
struct IoEventFd {
  std::uint64_t offset = 0;    // in the region; a multiple of `size`
  std::uint32_t size = 0;      // bytes of such a write: 1, 2, 4 or 8
  std::uint32_t fd_index = 0;  // in what comes with the description
};

}  // namespace airlock::vfio_user
