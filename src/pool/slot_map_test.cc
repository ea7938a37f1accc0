// SPDX-License-Identifier: Apache-2.0
//
// Goal: no slot is taken twice, none is lost, and a request fails only where there is no room.
// Method: small cases by hand; then random ones against a bitmap that is searched slot by slot.
#include "pool/slot_map.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <vector>

#include "base/result.h"

namespace airlock::pool {
namespace {

TEST(SlotMap, TakesAdjacentSlotsAndMergesThemBack) {
  SlotMap map(2, 16);
  EXPECT_EQ(map.take(4, 1), 0U);
  EXPECT_EQ(map.take(4, 1), 4U);
  EXPECT_EQ(map.take(8, 1), 8U);
  EXPECT_EQ(map.take(1, 1), SlotMap::kNone);
  map.give(0, 4);
  map.give(8, 8);
  map.settle();
  EXPECT_EQ(map.free_blocks(), 2U);
  EXPECT_EQ(map.take(12, 1), SlotMap::kNone);  // enough slots, but not adjacent
  map.give(4, 4);
  EXPECT_EQ(map.take(16, 1), 0U);
  map.give(0, 16);
  map.settle();
  EXPECT_EQ(map.free_blocks(), 1U);
}

TEST(SlotMap, ReusesWhatCameBackLast) {
  SlotMap map(2, 64);
  std::vector<std::uint32_t> taken;
  for (int i = 0; i < 8; i++)
    taken.push_back(map.take(2, 1));
  map.give(taken[1], 2);
  map.give(taken[5], 2);
  EXPECT_EQ(map.take(2, 1), taken[5]);
  EXPECT_EQ(map.take(2, 1), taken[1]);
}

TEST(SlotMap, KeepsWhatCameBackInOnePieceUntilAnotherSizeNeedsIt) {
  SlotMap map(2, 16);
  for (std::uint32_t i = 0; i < 8; i++)
    EXPECT_EQ(map.take(2, 1), 2 * i);
  for (std::uint32_t i = 0; i < 8; i++)
    map.give(2 * i, 2);
  EXPECT_EQ(map.free_blocks(), 0U);  // all parked
  EXPECT_EQ(map.take(2, 1), 14U);
  EXPECT_EQ(map.take(3, 1), 0U);
  EXPECT_EQ(map.free_blocks(), 1U);  // the rest of one that all the others became
  EXPECT_EQ(map.take(11, 1), 3U);
  map.give(14, 2);
  EXPECT_EQ(map.take(2, 2), 14U);  // an aligned request has no use for what is parked as it is
}

TEST(SlotMap, ParksOnlySoMuch) {
  SlotMap map(2, 4096);
  for (std::uint32_t i = 0; i < 64; i++)
    EXPECT_EQ(map.take(63, 1), 63 * i);
  for (std::uint32_t i = 0; i < 16; i++)
    map.give(63 * i, 63);
  EXPECT_EQ(map.free_blocks(), 1U);  // what was never taken
  map.give(std::uint32_t{63} * 16, 63);
  EXPECT_EQ(map.free_blocks(), 2U);  // and all 17, in one piece
}

TEST(SlotMap, AlignsByTheNumberInTheRegion) {
  SlotMap map(3, 16);  // slot 0 here is slot 3 of the region
  EXPECT_EQ(map.take(2, 4), 1U);
  EXPECT_EQ(map.take(2, 4), 5U);
  EXPECT_EQ(map.take(1, 1), 0U);
  EXPECT_EQ(map.take(4, 16), SlotMap::kNone);  // number 16 is slot 13, and 3 slots are left there
  EXPECT_EQ(map.take(3, 16), 13U);
}

TEST(SlotMap, GivingBackWhatWasNotTakenIsOurBugAndStops) {
  SlotMap map(2, 16);
  EXPECT_EQ(map.take(4, 1), 0U);
  EXPECT_DEATH(map.give(0, 3), "bug:");
  EXPECT_DEATH(map.give(1, 3), "bug:");
  EXPECT_DEATH(map.give(8, 1), "bug:");
  map.give(0, 4);
  EXPECT_DEATH(map.give(0, 4), "bug:");
}

// The naive model: one flag a slot.
class Model {
 public:
  Model(std::uint32_t origin, std::uint32_t slots) : origin_(origin), taken_(slots) {}

  [[nodiscard]] bool free(std::uint32_t first, std::uint32_t count) const {
    for (std::uint32_t i = first; i < first + count; i++) {
      if (i >= taken_.size() || taken_[i]) return false;
    }
    return true;
  }
  [[nodiscard]] bool has_room(std::uint32_t count, std::uint32_t alignment) const {
    for (std::uint32_t first = 0; first < taken_.size(); first++) {
      if ((origin_ + first) % alignment == 0 && free(first, count)) return true;
    }
    return false;
  }
  void set(std::uint32_t first, std::uint32_t count, bool taken) {
    for (std::uint32_t i = first; i < first + count; i++)
      taken_[i] = taken;
  }

 private:
  std::uint32_t origin_;
  std::vector<bool> taken_;
};

struct Taken {
  std::uint32_t first;
  std::uint32_t count;
};

void run_random(std::uint32_t slots, std::uint32_t largest) {
  const auto origin = *rc::gen::inRange<std::uint32_t>(2, 9);
  SlotMap map(origin, slots);
  Model model(origin, slots);
  std::vector<Taken> live;
  const auto steps = *rc::gen::inRange(1, 300);
  for (int i = 0; i < steps; i++) {
    if (live.empty() || *rc::gen::inRange(0, 100) < 55) {
      const auto count = *rc::gen::inRange<std::uint32_t>(1, largest);
      const auto alignment = std::uint32_t{1} << *rc::gen::element(0, 0, 0, 1, 1, 2, 4);
      const auto first = map.take(count, alignment);
      RC_ASSERT((first != SlotMap::kNone) == model.has_room(count, alignment));
      if (first == SlotMap::kNone) continue;
      RC_ASSERT(model.free(first, count));
      RC_ASSERT((origin + first) % alignment == 0U);
      model.set(first, count, true);
      live.push_back({first, count});
    } else {
      const auto which = *rc::gen::inRange<std::size_t>(0, live.size());
      map.give(live[which].first, live[which].count);
      model.set(live[which].first, live[which].count, false);
      live.erase(live.begin() + static_cast<std::ptrdiff_t>(which));
    }
  }
  for (const Taken& taken : live)
    map.give(taken.first, taken.count);
  map.settle();
  RC_ASSERT(map.free_blocks() == 1U);
  RC_ASSERT(map.take(slots, 1) == 0U);
}

TEST(SlotMap, AgreesWithASlotBySlotModelOnSmallRequests) {
  EXPECT_TRUE(rc::check([] { run_random(96, 9); }));
}

TEST(SlotMap, AgreesWithASlotBySlotModelOnLargeRequests) {
  EXPECT_TRUE(rc::check([] { run_random(1000, 200); }));
}

}  // namespace
}  // namespace airlock::pool
