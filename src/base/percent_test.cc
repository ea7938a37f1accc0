// SPDX-License-Identifier: Apache-2.0
#include "base/percent.h"

#include <gtest/gtest.h>

namespace airlock {
namespace {

TEST(ParsePercent, TakesASignOrNone) {
  EXPECT_EQ(parse_percent("20%"), 20U);
  EXPECT_EQ(parse_percent("20"), 20U);
  EXPECT_EQ(parse_percent("0%"), 0U);
  EXPECT_EQ(parse_percent("100%"), 100U);
}

TEST(ParsePercent, RefusesWhatIsNoShare) {
  for (const char* text : {"", "%", "101%", "-1%", "1.5%", "20%%", "20 %", "x", "99999999999"}) {
    EXPECT_EQ(parse_percent(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace airlock
