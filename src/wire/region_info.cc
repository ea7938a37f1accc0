// SPDX-License-Identifier: Apache-2.0
#include "wire/region_info.h"

#include <unistd.h>

#include <optional>

#include "core/range.h"
#include "wire/message.h"

namespace airlock::vfio_user {

namespace {

using WireInfo = spec::VfioUserRegionInfo;
using WireSparse = spec::VfioRegionInfoCapSparseMmap;
using WireArea = spec::VfioRegionSparseMmapArea;

bool is_page_aligned(std::uint64_t value) {
  return airlock_is_aligned(value, static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)));
}

// Whether a client can map `area` as it is announced.
bool is_sound(const WireInfo& info, const MappableArea& area) {
  if (area.size == 0 || !airlock_range_within(area.offset, area.size, info.size)) return false;
  // As a file position, all of it has to be a positive off_t.
  if (!airlock_range_within(info.offset, info.size, INT64_MAX)) return false;
  return is_page_aligned(info.offset) && is_page_aligned(area.offset) && is_page_aligned(area.size);
}

Result<std::vector<MappableArea>> parse_sparse(std::span<const std::byte> payload,
                                               std::size_t offset, const WireInfo& info) {
  const auto sparse = read_struct<WireSparse>(payload, offset);
  if (!sparse || sparse->header.version != spec::VFIO_REGION_INFO_CAP_SPARSE_MMAP_VERSION) {
    return malformed(offset);
  }
  const std::size_t first = offset + sizeof(WireSparse);
  if (sparse->nr_areas > (payload.size() - first) / sizeof(WireArea)) return malformed(first);
  std::vector<MappableArea> areas;
  areas.reserve(sparse->nr_areas);
  for (std::uint32_t i = 0; i < sparse->nr_areas; ++i) {
    const auto area = require_struct<WireArea>(payload, first + i * sizeof(WireArea));
    areas.push_back({.offset = area.offset, .size = area.size});
    if (!is_sound(info, areas.back())) return malformed(first + i * sizeof(WireArea));
  }
  return areas;
}

// The areas of the sparse-mmap capability; nothing if there is none.
Result<std::optional<std::vector<MappableArea>>> parse_capabilities(
    std::span<const std::byte> payload, const WireInfo& info) {
  std::optional<std::vector<MappableArea>> areas;
  std::size_t end_of_last = sizeof(WireInfo);
  for (std::size_t offset = info.cap_offset; offset != 0;) {
    // Forward only, so that the walk ends and no capability overlaps another's header.
    if (offset < end_of_last) return malformed(offset);
    const auto header = read_struct<spec::VfioInfoCapHeader>(payload, offset);
    if (!header) return malformed(offset);
    if (header->id == spec::VFIO_REGION_INFO_CAP_SPARSE_MMAP) {
      if (areas) return malformed(offset);
      areas = TRY(parse_sparse(payload, offset, info));
    }
    end_of_last = offset + sizeof *header;
    offset = header->next;
  }
  return areas;
}

}  // namespace

Result<ParsedRegionInfo> parse_region_info(std::span<const std::byte> payload, std::uint32_t index,
                                           bool complete) {
  const auto info = read_struct<WireInfo>(payload);
  if (!info || info->argsz < sizeof(WireInfo)) return malformed(offsetof(WireInfo, argsz));
  if (info->index != index) return malformed(offsetof(WireInfo, index));
  ParsedRegionInfo parsed{.info = *info, .areas = {}};
  if (!complete || (info->flags & spec::VFIO_REGION_INFO_FLAG_MMAP) == 0) return parsed;
  std::optional<std::vector<MappableArea>> sparse;
  if ((info->flags & spec::VFIO_REGION_INFO_FLAG_CAPS) != 0) {
    if (info->cap_offset < sizeof(WireInfo)) return malformed(offsetof(WireInfo, cap_offset));
    sparse = TRY(parse_capabilities(payload, *info));
  }
  const MappableArea whole{.offset = 0, .size = info->size};
  if (sparse) {
    parsed.areas = std::move(*sparse);
  } else if (is_sound(*info, whole)) {
    parsed.areas.push_back(whole);
  }
  return parsed;
}

}  // namespace airlock::vfio_user
