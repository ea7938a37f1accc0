// SPDX-License-Identifier: Apache-2.0
//
// Goal: BARs get places of their own, whatever sizes a device claims. Method: sensible devices and
// absurd ones.
#include "driver/bar_layout.h"

#include <gtest/gtest.h>

#include "core/range.h"

namespace airlock::driver {
namespace {

TEST(BarLayout, PlacesEachAtAMultipleOfItsSizeWithoutOverlap) {
  const Bars bars{Bar{.size = 0x4000},
                  Bar{.size = 4096},
                  Bar{.size = 64 << 20, .is_64bit = true},
                  Bar{},
                  Bar{.size = 16, .is_io = true},
                  Bar{.size = 1 << 20}};
  const BarAddresses addresses = MUST(place_bars(bars));
  EXPECT_EQ(addresses[3], 0U);
  EXPECT_EQ(addresses[4], 0U);
  EXPECT_GE(addresses[2], std::uint64_t{4} << 30);
  for (const auto i : {0U, 1U, 2U, 5U}) {
    EXPECT_EQ(addresses[i] % bars[i].size, 0U);
    for (const auto j : {0U, 1U, 2U, 5U}) {
      EXPECT_EQ(
          i != j && airlock_ranges_overlap(addresses[i], bars[i].size, addresses[j], bars[j].size),
          false);
    }
  }
}

TEST(BarLayout, RefusesSizesThatMakeNoSense) {
  const auto error = [](const Bars& bars) { return place_bars(bars).error().code; };
  EXPECT_EQ(error({Bar{.size = 12345}}), Errc::kNotPowerOfTwo);
  EXPECT_EQ(error({Bar{.size = std::uint64_t{1} << 63, .is_64bit = true}}), Errc::kTooLarge);
  EXPECT_EQ(error({Bar{.size = std::uint64_t{4} << 30}}), Errc::kTooLarge);
  EXPECT_EQ(error({Bar{.size = std::uint64_t{2} << 30}, Bar{.size = 4096}}), Errc::kTooLarge);
  EXPECT_EQ(error({Bar{.size = 4096, .is_64bit = true}, Bar{.size = 4096}}), Errc::kMalformed);
  EXPECT_EQ(error({Bar{}, Bar{}, Bar{}, Bar{}, Bar{}, Bar{.size = 4096, .is_64bit = true}}),
            Errc::kMalformed);
}

}  // namespace
}  // namespace airlock::driver
