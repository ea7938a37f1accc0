// SPDX-License-Identifier: Apache-2.0
#include "wire/region_io_fds.h"

#include <algorithm>

#include "core/range.h"
#include "wire/message.h"

namespace airlock::vfio_user {

namespace {

using WireIoFds = spec::VfioUserRegionIoFds;
using WireIoFd = spec::VfioUserSubRegionIoeventfd;

constexpr std::uint64_t kWidest = 8;  // bytes

// Whether it is what IoEventFd says: no value to match, a register's size.
bool is_known(const WireIoFd& entry) {
  return entry.type == spec::VFIO_USER_IO_FD_TYPE_IOEVENTFD && entry.flags == 0 &&
         entry.size <= kWidest && airlock_is_power_of_two(entry.size);
}

}  // namespace

Result<ParsedRegionIoFds> parse_region_io_fds(std::span<const std::byte> payload,
                                              std::uint32_t index, std::uint64_t region_bytes,
                                              std::size_t fds) {
  const auto info = read_struct<WireIoFds>(payload);
  if (!info || info->argsz < sizeof(WireIoFds)) return malformed(offsetof(WireIoFds, argsz));
  if (info->flags != 0) return malformed(offsetof(WireIoFds, flags));
  if (info->index != index) return malformed(offsetof(WireIoFds, index));
  ParsedRegionIoFds parsed;
  const std::size_t room = payload.size() - sizeof(WireIoFds);
  if (info->argsz > payload.size()) return parsed;
  if (info->count > room / sizeof(WireIoFd)) return malformed(offsetof(WireIoFds, count));
  if (info->argsz != sizeof(WireIoFds) + info->count * sizeof(WireIoFd)) return parsed;
  for (std::uint32_t i = 0; i < info->count; ++i) {
    const std::size_t at = sizeof(WireIoFds) + i * sizeof(WireIoFd);
    const auto entry = require_struct<WireIoFd>(payload, at);
    const bool sound =
        airlock_range_within(entry.offset, entry.size, region_bytes) && entry.fd_index < fds;
    if (!sound) return malformed(at);
    if (!is_known(entry)) continue;
    if (!airlock_is_aligned(entry.offset, entry.size)) return malformed(at);
    const IoEventFd found{.offset = entry.offset,
                          .size = static_cast<std::uint32_t>(entry.size),
                          .fd_index = entry.fd_index};
    const auto again = [&found](const IoEventFd& other) {
      return airlock_ranges_overlap(found.offset, found.size, other.offset, other.size);
    };
    if (std::ranges::any_of(parsed.eventfds, again)) return malformed(at);
    parsed.eventfds.push_back(found);
  }
  return parsed;
}

}  // namespace airlock::vfio_user
