// SPDX-License-Identifier: Apache-2.0
#include "base/address.h"

#include <gtest/gtest.h>

namespace airlock {
namespace {

TEST(Address, TakesHexadecimalNumbersAndSizes) {
  EXPECT_EQ(parse_address("0x50000000"), 0x50000000U);
  EXPECT_EQ(parse_address("0xffffffffffffffff"), ~std::uint64_t{0});
  EXPECT_EQ(parse_address("2G"), std::uint64_t{2} << 30);
  EXPECT_EQ(parse_address("0"), 0U);
}

TEST(Address, TakesNothingElse) {
  for (const char* text :
       {"", "0x", "0x1G", "0x-1", "0x+1", "0x1ffffffffffffffff", "x1", "1x", "ff"})
    EXPECT_FALSE(parse_address(text)) << text;
}

}  // namespace
}  // namespace airlock
