// SPDX-License-Identifier: Apache-2.0
#include "guard/device_profile.h"

#include <sys/stat.h>

#include <algorithm>

#include "wire/message.h"

namespace airlock::guard {

Result<FileId> FileId::of(const Fd& fd) {
  struct stat status = {};
  if (fstat(fd.get(), &status) != 0) return fail(system_error());
  return FileId{.device = status.st_dev, .inode = status.st_ino};
}

namespace {

bool same_area(const vfio_user::MappableArea& a, const vfio_user::MappableArea& b) {
  return a.offset == b.offset && a.size == b.size;
}

bool same_region(const ProfileRegion& a, const ProfileRegion& b) {
  return a.flags == b.flags && a.size == b.size &&
         static_cast<bool>(a.fd) == static_cast<bool>(b.fd) && a.file == b.file &&
         std::ranges::equal(a.areas, b.areas, same_area);
}

bool same_irq(const ProfileIrq& a, const ProfileIrq& b) {
  return a.flags == b.flags && a.count == b.count;
}

}  // namespace

bool DeviceProfile::same_as(const DeviceProfile& other) const {
  return flags == other.flags && config == other.config &&
         std::ranges::equal(regions, other.regions, same_region) &&
         std::ranges::equal(irqs, other.irqs, same_irq);
}

RegionReply region_reply(const ProfileRegion& region, std::uint32_t index, std::uint32_t argsz) {
  using Info = spec::VfioUserRegionInfo;
  using Sparse = spec::VfioRegionInfoCapSparseMmap;
  Info info{.argsz = sizeof(Info),
            .flags = region.flags,
            .index = index,
            .cap_offset = 0,
            .size = region.size,
            .offset = 0};
  if (!region.fd) return {.payload = vfio_user::bytes_of(info), .with_fd = false};
  const std::size_t whole =
      sizeof(Info) + sizeof(Sparse) + region.areas.size() * sizeof(spec::VfioRegionSparseMmapArea);
  info.argsz = static_cast<std::uint32_t>(whole);
  info.flags |= spec::VFIO_REGION_INFO_FLAG_MMAP;
  // Who left no room asks again: neither capabilities nor the fd before (VFIO_USER 1.7).
  if (argsz < whole) return {.payload = vfio_user::bytes_of(info), .with_fd = false};
  info.flags |= spec::VFIO_REGION_INFO_FLAG_CAPS;
  info.cap_offset = sizeof(Info);
  RegionReply reply{.payload = vfio_user::bytes_of(info), .with_fd = true};
  vfio_user::append_struct(
      reply.payload, Sparse{.header = {.id = spec::VFIO_REGION_INFO_CAP_SPARSE_MMAP,
                                       .version = spec::VFIO_REGION_INFO_CAP_SPARSE_MMAP_VERSION,
                                       .next = 0},
                            .nr_areas = static_cast<std::uint32_t>(region.areas.size()),
                            .reserved = 0});
  for (const auto& area : region.areas) {
    vfio_user::append_struct(
        reply.payload, spec::VfioRegionSparseMmapArea{.offset = area.offset, .size = area.size});
  }
  return reply;
}

}  // namespace airlock::guard
