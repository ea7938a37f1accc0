// SPDX-License-Identifier: Apache-2.0
//
// vfio-user's eventfds for registers: the same document as vfio_user.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace airlock::spec {

/// DEVICE_GET_REGION_IO_FDS, both ways: `count` sub-regions follow the reply, and their fds come
/// with it.
struct VfioUserRegionIoFds {
  std::uint32_t argsz;  // +0   of a reply: bytes that all of it takes
  std::uint32_t flags;  // +4   zero
  std::uint32_t index;  // +8
  std::uint32_t count;  // +12  of a request: zero
};
static_assert(sizeof(VfioUserRegionIoFds) == 16 && offsetof(VfioUserRegionIoFds, flags) == 4 &&
              offsetof(VfioUserRegionIoFds, index) == 8 &&
              offsetof(VfioUserRegionIoFds, count) == 12);
static_assert(std::has_unique_object_representations_v<VfioUserRegionIoFds>);

// Types of a sub-region, and flags of an ioeventfd: as KVM has them.
inline constexpr std::uint32_t VFIO_USER_IO_FD_TYPE_IOEVENTFD = 0;
inline constexpr std::uint32_t VFIO_USER_IO_FD_TYPE_IOREGIONFD = 1;
inline constexpr std::uint32_t VFIO_USER_IOEVENTFD_FLAG_DATAMATCH = 1;

/// A sub-region, writes to which may go to an eventfd instead.
struct VfioUserSubRegionIoeventfd {
  std::uint64_t offset;     // +0   in the region
  std::uint64_t size;       // +8   bytes of a write
  std::uint32_t fd_index;   // +16  in the fds of the reply
  std::uint32_t type;       // +20  VFIO_USER_IO_FD_TYPE_*
  std::uint32_t flags;      // +24  VFIO_USER_IOEVENTFD_FLAG_*
  std::uint32_t padding;    // +28
  std::uint64_t datamatch;  // +32  the value written, valid iff flags & ..._DATAMATCH
};
static_assert(sizeof(VfioUserSubRegionIoeventfd) == 40 &&
              offsetof(VfioUserSubRegionIoeventfd, size) == 8 &&
              offsetof(VfioUserSubRegionIoeventfd, fd_index) == 16 &&
              offsetof(VfioUserSubRegionIoeventfd, type) == 20 &&
              offsetof(VfioUserSubRegionIoeventfd, flags) == 24 &&
              offsetof(VfioUserSubRegionIoeventfd, datamatch) == 32);
static_assert(std::has_unique_object_representations_v<VfioUserSubRegionIoeventfd>);

}  // namespace airlock::spec
