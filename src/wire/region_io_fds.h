// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "spec/vfio_user_io_fds.h"
#include "wire/types.h"

namespace airlock::vfio_user {

/// What a server's DEVICE_GET_REGION_IO_FDS reply says, checked.
struct ParsedRegionIoFds {
  std::vector<IoEventFd> eventfds;
};

/// Reads the payload of a reply about region `index`, of `region_bytes`, that came with `fds` file
/// descriptors, from a server that is not trusted. Sub-regions whose kind is not IoEventFd's
/// (another mechanism, a value to match, any size) are left out, and all are where argsz says that
/// more than this payload is needed, or that they have another size than the specification's.
/// Errors: kMalformed: too short, about another region, flags, more sub-regions than there are
/// bytes, one that is not aligned, lies outside, overlaps another or names an fd that did not come.
/// VFIO_USER 1.8.
Result<ParsedRegionIoFds> parse_region_io_fds(std::span<const std::byte> payload,
                                              std::uint32_t index, std::uint64_t region_bytes,
                                              std::size_t fds);

}  // namespace airlock::vfio_user
