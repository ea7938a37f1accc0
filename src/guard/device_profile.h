// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/fd.h"
#include "spec/vfio_user.h"
#include "wire/types.h"

namespace airlock::guard {

/// Which file an fd stands for.
struct FileId {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  friend bool operator==(const FileId&, const FileId&) = default;

  /// Errors: kSystem.
  static Result<FileId> of(const Fd& fd);
};

/// One region as the device described it and the guard lets the VM see it. It may be mapped iff
/// `fd` is there, whose first byte is the region's.
struct ProfileRegion {
  std::uint32_t flags = 0;  // VFIO_REGION_INFO_FLAG_*, without MMAP and CAPS
  std::uint64_t size = 0;   // bytes; 0: no such region
  std::vector<vfio_user::MappableArea> areas;
  Fd fd;
  FileId file;
};

struct ProfileIrq {
  std::uint32_t flags = 0;  // VFIO_IRQ_INFO_*
  std::uint32_t count = 0;
};

/// What a device is: asked once, checked, and what the VM gets to see of it from then on. A process
/// that takes over from another has to be the same.
struct DeviceProfile {
  std::uint32_t flags = 0;  // VFIO_DEVICE_FLAGS_*
  std::array<ProfileRegion, spec::VFIO_PCI_NUM_REGIONS> regions;
  std::array<ProfileIrq, spec::VFIO_PCI_NUM_IRQS> irqs;
  std::vector<std::byte> config;  // PCI config space as it was at first

  /// Whether the VM could go on with `other` in its place and not notice: all that it was told is
  /// the same, and so are the files that it has mapped.
  [[nodiscard]] bool same_as(const DeviceProfile& other) const;
};

/// The reply to a DEVICE_GET_REGION_INFO whose caller has room for `argsz` bytes: the struct, and
/// the areas if there is room for them. `with_fd` says whether the region's fd belongs to it.
struct RegionReply {
  std::vector<std::byte> payload;
  bool with_fd = false;
};
[[nodiscard]] RegionReply region_reply(const ProfileRegion& region, std::uint32_t index,
                                       std::uint32_t argsz);

}  // namespace airlock::guard
