// SPDX-License-Identifier: Apache-2.0
#include "shm/shared_bytes.h"

#include <gtest/gtest.h>

#include <array>

#include "shm/sealed_memfd.h"

namespace airlock::shm {
namespace {

class SharedBytesTest : public testing::Test {
 protected:
  SealedMemfd memfd_ = MUST(SealedMemfd::create({.size = 8192}));
  Mapping mapping_ = MUST(memfd_.map());
  SharedBytes bytes_ = mapping_.bytes();
};

TEST_F(SharedBytesTest, StoresAndLoadsScalarsInPlace) {
  bytes_.store_release<Le32>(4, Le32(0x11223344));
  EXPECT_EQ(bytes_.load_acquire<Le32>(4).get(), 0x11223344U);
  EXPECT_EQ(bytes_.load_relaxed<std::uint8_t>(4), 0x44);
}

TEST_F(SharedBytesTest, CopiesBothWays) {
  const std::array<std::byte, 3> source{std::byte{1}, std::byte{2}, std::byte{3}};
  bytes_.copy_in(8189, source);
  std::array<std::byte, 3> target{};
  bytes_.copy_out(8189, target);
  EXPECT_EQ(source, target);
  bytes_.fill_zero(8190, 1);
  bytes_.copy_out(8189, target);
  EXPECT_EQ(target[1], std::byte{0});
  EXPECT_EQ(target[2], std::byte{3});
}

TEST_F(SharedBytesTest, SlicesUpToItsEndAndNoFurther) {
  EXPECT_EQ(MUST(bytes_.slice(8191, 1)).size(), 1U);
  EXPECT_EQ(MUST(bytes_.slice(8192, 0)).size(), 0U);
  EXPECT_EQ(bytes_.slice(8191, 2).error().code, Errc::kOutOfRange);
  EXPECT_EQ(bytes_.slice(~std::uint64_t{0}, 2).error().code, Errc::kOutOfRange);
}

TEST_F(SharedBytesTest, AccessOutsideIsOurBugAndStops) {
  EXPECT_DEATH((void)bytes_.load_relaxed<std::uint32_t>(8190), "bug:");
  EXPECT_DEATH((void)bytes_.load_relaxed<std::uint32_t>(2), "bug:");
  std::array<std::byte, 2> two{};
  EXPECT_DEATH(bytes_.copy_in(8191, two), "bug:");
  EXPECT_DEATH(bytes_.copy_out(8191, two), "bug:");
  EXPECT_DEATH(bytes_.fill_zero(8191, 2), "bug:");
}

}  // namespace
}  // namespace airlock::shm
