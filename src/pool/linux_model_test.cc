// SPDX-License-Identifier: Apache-2.0
//
// Goal: what we compare ourselves with is no straw man: it gives out what Linux would, in its
// order. Method: small cases by hand; any sequence of calls, against who owns which slot.
#include "pool/linux_model.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <array>
#include <thread>
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

/// Who has each slot, and what was put there.
class SlotOwners {
 public:
  void map() {
    const auto most = *rc::gen::element<std::uint64_t>(9000, 30'000, LinuxModel::kLargest);
    const auto bytes = *rc::gen::inRange<std::uint64_t>(1, most + 1);
    const auto area = *rc::gen::inRange<std::uint32_t>(0, kAreas);
    std::vector<std::byte> buffer(bytes, std::byte{++tag_});
    const auto count = slots_of(bytes);
    const bool room = has_room(count, bytes >= 2 * LinuxModel::kSlotBytes ? 2 : 1);
    const auto first = model_.map(buffer, area);
    RC_ASSERT(first.has_value() == room);
    if (!first) return;
    RC_ASSERT(*first / LinuxModel::kSegmentSlots ==
              (*first + count - 1) / LinuxModel::kSegmentSlots);
    for (std::uint32_t slot = *first; slot < *first + count; ++slot) {
      RC_ASSERT(!owned_.at(slot));
      owned_.at(slot) = true;
    }
    live_.push_back({.first = *first, .buffer = std::move(buffer)});
  }
  void unmap() {
    if (live_.empty()) return;
    const auto which = *rc::gen::inRange<std::size_t>(0, live_.size());
    end(which);
  }
  /// Nothing is lost: what is free is in one piece again.
  void finish() {
    while (!live_.empty())
      end(live_.size() - 1);
    RC_ASSERT(model_.used() == 0U);
    std::vector<std::byte> buffer(LinuxModel::kLargest);
    for (std::uint32_t i = 0; i < model_.size() / LinuxModel::kSegmentSlots; ++i)
      RC_ASSERT(model_.map(buffer, 0));
    RC_ASSERT(!model_.map(std::span(buffer).first(1), 0));
  }

 private:
  static constexpr std::uint32_t kAreas = 2;
  static constexpr std::uint64_t kBytes = kAreas * LinuxModel::kLargest;
  struct Live {
    std::uint32_t first = 0;
    std::vector<std::byte> buffer;
  };
  static std::uint32_t slots_of(std::uint64_t bytes) {
    return static_cast<std::uint32_t>((bytes + LinuxModel::kSlotBytes - 1) /
                                      LinuxModel::kSlotBytes);
  }
  // Anywhere: areas are sought one after the other. Pages begin at pages.
  [[nodiscard]] bool has_room(std::uint32_t count, std::uint32_t stride) const {
    std::uint32_t free = 0;
    for (std::uint32_t slot = model_.size(); slot > 0; --slot) {
      if (slot % LinuxModel::kSegmentSlots == 0) free = 0;
      free = owned_.at(slot - 1) ? 0 : free + 1;
      if (free >= count && (slot - 1) % stride == 0) return true;
    }
    return false;
  }
  // What was mapped is where it was, untouched by all mappings since.
  void end(std::size_t which) {
    Live& live = live_.at(which);
    const auto bytes = live.buffer.size();
    const std::vector<std::byte> sent = live.buffer;
    std::ranges::fill(live.buffer, std::byte{0});
    model_.unmap(live.first, bytes, true);
    RC_ASSERT(live.buffer == sent);
    for (std::uint32_t slot = live.first; slot < live.first + slots_of(bytes); ++slot)
      owned_.at(slot) = false;
    live_.erase(live_.begin() + static_cast<std::ptrdiff_t>(which));
  }

  shm::SealedMemfd memfd_ = MUST(shm::SealedMemfd::create({.size = kBytes}));
  shm::Mapping mapping_ = MUST(memfd_.map());
  LinuxModel model_{mapping_.bytes(), kAreas};
  std::vector<bool> owned_ = std::vector<bool>(model_.size());
  std::vector<Live> live_;
  std::uint8_t tag_ = 0;
};

// SYS-1, DT-8: no overlap, no loss, and no room only where there is none.
TEST(LinuxModelAnySequence, OwnsEachSlotOnceAndMergesAll) {
  EXPECT_TRUE(rc::check([] {
    SlotOwners owners;
    const auto steps = *rc::gen::inRange(1, 60);
    for (int i = 0; i < steps; ++i) {
      if (*rc::gen::inRange(0, 100) < 60) {
        owners.map();
      } else {
        owners.unmap();
      }
    }
    owners.finish();
  }));
}

// SYS-1, DT-5: one area, whose lock all devices of the pool take, and no quota: what one holds the
// others lack, until it is given back.
TEST(LinuxModelShared, DevicesTakeFromOnePool) {
  const auto memfd = MUST(shm::SealedMemfd::create({.size = kRegionBytes}));
  const shm::Mapping mapping = MUST(memfd.map());
  LinuxModel model(mapping.bytes(), 1);
  std::vector<std::byte> buffer(LinuxModel::kLargest);
  std::vector<std::uint32_t> of_one;
  while (const auto first = model.map(buffer, 0))
    of_one.push_back(*first);
  EXPECT_EQ(of_one.size(), kRegionBytes / LinuxModel::kLargest);
  EXPECT_EQ(model.map(std::span(buffer).first(1), 0), std::nullopt);
  model.unmap(of_one.back(), buffer.size(), false);
  EXPECT_EQ(model.map(std::span(buffer).first(1), 0), of_one.back());
  EXPECT_EQ(model.most_used(), model.size());
}

// SYS-1, DT-5: nor do they get at each other's slots when they map at the same time.
TEST(LinuxModelShared, DevicesMapAtTheSameTime) {
  const auto memfd = MUST(shm::SealedMemfd::create({.size = kRegionBytes}));
  const shm::Mapping mapping = MUST(memfd.map());
  LinuxModel model(mapping.bytes(), 1);
  const auto device = [&model](unsigned number) {
    std::array<std::byte, 3000> buffer{};
    for (std::uint64_t round = 0; round < 300; ++round) {
      const auto bytes = std::span(buffer).first(1 + ((round * 37) % buffer.size()));
      std::ranges::fill(bytes, std::byte(number));
      const auto first = model.map(bytes, 0);
      ASSERT_TRUE(first);
      std::ranges::fill(bytes, std::byte{0});
      model.unmap(*first, bytes.size(), true);
      ASSERT_TRUE(std::ranges::all_of(bytes, [&](std::byte b) { return b == std::byte(number); }));
    }
  };
  {
    const std::jthread other(device, 2U);
    device(1);
  }
  EXPECT_EQ(model.used(), 0U);
}

}  // namespace
}  // namespace airlock::pool
