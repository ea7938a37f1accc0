// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "spec/vfio_user.h"
#include "wire/types.h"

namespace airlock::vfio_user {

/// What a server's DEVICE_GET_REGION_INFO reply says, checked.
struct ParsedRegionInfo {
  spec::VfioUserRegionInfo info = {};
  std::vector<MappableArea> areas;  // page aligned, inside the region and the file's offsets
};

/// Reads the payload of a reply about region `index` from a server that is not trusted. `complete`:
/// it is all that the server has to say (argsz fits), so that the capabilities count. A region with
/// FLAG_MMAP and no sparse-mmap capability is one area, if it is page aligned.
/// Errors: kMalformed: too short, about another region, a capability or an area that lies outside,
/// overlaps the end or is not page aligned, a chain that does not go forward.
Result<ParsedRegionInfo> parse_region_info(std::span<const std::byte> payload, std::uint32_t index,
                                           bool complete);

}  // namespace airlock::vfio_user
