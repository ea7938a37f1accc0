// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace airlock::guard {

/// One write of the VM's to a region, as it can be given to the device, again too.
struct RegionWrite {
  std::uint32_t region = 0;
  std::uint64_t offset = 0;  // in the region
  std::vector<std::byte> bytes;
};

}  // namespace airlock::guard
