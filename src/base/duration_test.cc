// SPDX-License-Identifier: Apache-2.0
#include "base/duration.h"

#include <gtest/gtest.h>

namespace airlock {
namespace {

using std::chrono::microseconds;

TEST(ParseDuration, TakesUnitsAndPlainSeconds) {
  EXPECT_EQ(parse_duration("50us"), microseconds(50));
  EXPECT_EQ(parse_duration("2ms"), microseconds(2000));
  EXPECT_EQ(parse_duration("5"), microseconds(5'000'000));
  EXPECT_EQ(parse_duration("5s"), microseconds(5'000'000));
  EXPECT_EQ(parse_duration("1m"), microseconds(60'000'000));
  EXPECT_EQ(parse_duration("0us"), microseconds(0));
}

TEST(ParseDuration, RefusesWhatIsNoTime) {
  for (const char* text : {"", "us", "-1s", "5h", "5 s", "1.5s", "99999999999s", "4000000000s"}) {
    EXPECT_EQ(parse_duration(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace airlock
