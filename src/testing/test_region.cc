// SPDX-License-Identifier: Apache-2.0
#include "testing/test_region.h"

#include "base/checked.h"

namespace airlock::testing {

TestRegion::TestRegion(const Options& options)
    : memfd_(MUST(shm::SealedMemfd::create({.name = "airlock-test", .size = options.size}))),
      mapping_(MUST(memfd_.map())),
      window_(mapping_.bytes()) {
  window_.configure(options.mode, window::Reach::kRegion);
  window_.set_region_bus_base(options.bus_base);
}

window::RegionOffset TestRegion::allocate(std::uint64_t length, std::uint64_t alignment) {
  const auto start = checked_align_up(next_, alignment);
  CHECK(start.has_value());
  CHECK(airlock_range_within(*start, length, bytes().size()));
  bytes().fill_zero(*start, length);
  next_ = *start + length;
  return window::RegionOffset{*start};
}

}  // namespace airlock::testing
