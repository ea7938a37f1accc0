// SPDX-License-Identifier: Apache-2.0
//
// Goal: what we compare ourselves with is no straw man: it gives out what Linux would, in its
// order. Method: small cases by hand.
#include "pool/linux_model.h"

#include <gtest/gtest.h>

#include <vector>

#include "shm/sealed_memfd.h"

namespace airlock::pool {
namespace {

constexpr std::uint64_t kRegionBytes = 1 << 20;

class LinuxModelTest : public testing::Test {
 protected:
  std::optional<std::uint32_t> map(std::uint64_t bytes, std::uint32_t home = 0) {
    return model_.map(std::span(buffer_).first(bytes), home);
  }

  shm::SealedMemfd memfd_ = MUST(shm::SealedMemfd::create({.size = kRegionBytes}));
  shm::Mapping mapping_ = MUST(memfd_.map());
  LinuxModel model_{mapping_.bytes(), 2};
  std::vector<std::byte> buffer_ = std::vector<std::byte>(kRegionBytes, std::byte{0x5a});
};

TEST_F(LinuxModelTest, GoesOnWhereTheLastMappingEnded) {
  EXPECT_EQ(map(4096), 0U);
  EXPECT_EQ(map(512), 2U);
  EXPECT_EQ(map(4096), 4U);  // pages begin at pages
  model_.unmap(0, 4096, false);
  EXPECT_EQ(map(4096), 6U);
  EXPECT_EQ(model_.used(), 5U);
}

TEST_F(LinuxModelTest, CrossesNoSegment) {
  EXPECT_EQ(map(LinuxModel::kLargest - 4096), 0U);
  EXPECT_EQ(map(3 * LinuxModel::kSlotBytes), 128U);
  EXPECT_EQ(map(LinuxModel::kLargest), 256U);  // the other area
  model_.unmap(128, 3 * LinuxModel::kSlotBytes, false);
  EXPECT_EQ(map(LinuxModel::kLargest), 128U);
}

TEST_F(LinuxModelTest, FindsEachSlotAgainAndNoMore) {
  for (std::uint32_t i = 0; i < model_.size(); i++)
    EXPECT_EQ(map(1), i);
  EXPECT_EQ(map(1), std::nullopt);
  for (std::uint32_t i = 0; i < model_.size(); i += 2)
    model_.unmap(i, 1, false);
  EXPECT_EQ(map(4096), std::nullopt);
  for (std::uint32_t i = 1; i < model_.size(); i += 2)
    model_.unmap(i, 1, false);
  EXPECT_EQ(model_.used(), 0U);
  for (int i = 0; i < 4; i++)
    EXPECT_TRUE(map(LinuxModel::kLargest));
}

TEST_F(LinuxModelTest, CopiesInAlwaysAndOutOnDemand) {
  const auto first = map(5000, 1);
  ASSERT_EQ(first, 256U);
  std::vector<std::byte> seen(5000);
  mapping_.bytes().copy_out(256 * LinuxModel::kSlotBytes, seen);
  EXPECT_EQ(seen, std::vector<std::byte>(5000, std::byte{0x5a}));
  mapping_.bytes().fill_zero(256 * LinuxModel::kSlotBytes, 5000);
  model_.unmap(*first, 5000, true);
  EXPECT_EQ(buffer_[0], std::byte{0});
  EXPECT_EQ(buffer_[4999], std::byte{0});
  EXPECT_EQ(buffer_[5000], std::byte{0x5a});
}

}  // namespace
}  // namespace airlock::pool
