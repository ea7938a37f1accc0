// SPDX-License-Identifier: Apache-2.0
// Sizes as people write them: every accepted form, and beside each the forms that only look alike.
#include "base/size.h"

#include <gtest/gtest.h>

namespace airlock {
namespace {

TEST(Size, ParsesBytesAndUnits) {
  EXPECT_EQ(parse_size("0"), 0U);
  EXPECT_EQ(parse_size("512"), 512U);
  EXPECT_EQ(parse_size("4K"), 4096U);
  EXPECT_EQ(parse_size("4k"), 4096U);
  EXPECT_EQ(parse_size("64M"), 64U << 20);
  EXPECT_EQ(parse_size("1G"), 1U << 30);
  EXPECT_EQ(parse_size("2t"), std::uint64_t{2} << 40);
}

TEST(Size, RefusesWhatIsNotASize) {
  for (const char* text : {"", "K", "-1", "+1", " 1", "1 ", "1 K", "1KB", "1KiB", "0x10", "1.5G",
                           "1E", "1P", "ten", "1\n", "1,000"}) {
    EXPECT_EQ(parse_size(text), std::nullopt) << '"' << text << '"';
  }
}

TEST(Size, RefusesWhatDoesNotFit) {
  EXPECT_EQ(parse_size("18446744073709551615"), ~std::uint64_t{0});
  EXPECT_EQ(parse_size("18446744073709551616"), std::nullopt);
  EXPECT_EQ(parse_size("16777215T"), std::uint64_t{16777215} << 40);
  EXPECT_EQ(parse_size("16777216T"), std::nullopt);
}

TEST(Size, FormatsWhatItParses) {
  for (const std::uint64_t bytes :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1000}, std::uint64_t{4096},
        std::uint64_t{1536} << 10, std::uint64_t{64} << 20, std::uint64_t{3} << 50,
        ~std::uint64_t{0}}) {
    EXPECT_EQ(parse_size(format_size(bytes)), bytes) << format_size(bytes);
  }
  EXPECT_EQ(format_size(std::uint64_t{64} << 20), "64M");
  EXPECT_EQ(format_size(1536 << 10), "1536K");
  EXPECT_EQ(format_size(1000), "1000");
}

}  // namespace
}  // namespace airlock
