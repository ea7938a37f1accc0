// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// Goal: each check says yes to what is legal and no to the nearest thing that is not. Method: pairs
// at the limits, and for the range check all of an 8-bit space against wide arithmetic.
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "core/chain.h"
#include "core/event.h"
#include "core/packed.h"
#include "core/range.h"
#include "core/used.h"

namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

// DEF-5, HD-28: no form of the check may overflow.
TEST(CoreRange, AgreesWithArithmeticThatCannotOverflow) {
  for (unsigned offset = 0; offset < 64; ++offset) {
    for (unsigned length = 0; length < 64; ++length) {
      for (unsigned limit = 0; limit < 64; ++limit) {
        EXPECT_EQ(airlock_range_within(offset, length, limit), offset + length <= limit);
        EXPECT_EQ(airlock_ranges_overlap(offset, length, limit, 7),
                  length != 0 && offset < limit + 7 && limit < offset + length);
      }
    }
  }
}

TEST(CoreRange, HoldsAtTheEndOfTheNumbers) {
  EXPECT_TRUE(airlock_range_within(kMax - 1, 1, kMax));
  EXPECT_FALSE(airlock_range_within(kMax, 1, kMax));
  EXPECT_FALSE(airlock_range_within(1, kMax, kMax));
  EXPECT_FALSE(airlock_range_within(kMax, kMax, kMax));
  EXPECT_TRUE(airlock_range_inside(kMax, 1, kMax - 3, 4));
  EXPECT_FALSE(airlock_range_inside(kMax - 4, 1, kMax - 3, 4));
  EXPECT_FALSE(airlock_range_inside(kMax, 2, kMax - 3, 4));
  EXPECT_TRUE(airlock_ranges_overlap(kMax, 1, kMax - 1, 2));
}

TEST(CoreRange, KnowsPowersOfTwoAndAlignment) {
  EXPECT_TRUE(airlock_is_power_of_two(1));
  EXPECT_FALSE(airlock_is_power_of_two(0));
  EXPECT_FALSE(airlock_is_power_of_two(12));
  EXPECT_TRUE(airlock_is_aligned(4096, 4096));
  EXPECT_FALSE(airlock_is_aligned(4098, 4));
}

class CoreChain : public testing::Test {
 protected:
  void begin(airlock_chain_rules rules, std::uint32_t head = 0) {
    airlock_chain_begin(&chain_, rules, head);
  }
  airlock_verdict step(std::uint32_t length, unsigned flags, std::uint16_t next = 0) {
    const airlock_descriptor descriptor{.address = 0x1000,
                                        .length = length,
                                        .flags = static_cast<std::uint16_t>(flags),
                                        .next = next};
    return airlock_chain_step(&chain_, &descriptor);
  }

  static constexpr airlock_chain_rules kSplit{.queue_size = 4, .packed = false, .indirect = false};
  static constexpr airlock_chain_rules kSplitIndirect{
      .queue_size = 4, .packed = false, .indirect = true};
  static constexpr airlock_chain_rules kPacked{.queue_size = 3, .packed = true, .indirect = false};
  static constexpr airlock_chain_rules kPackedIndirect{
      .queue_size = 3, .packed = true, .indirect = true};
  airlock_chain chain_{};

  void SetUp() override { begin(kSplit); }
};

// VIRTIO 1.3, 2.7.4.2: readable first, then writable.
TEST_F(CoreChain, TakesReadableThenWritable) {
  EXPECT_EQ(step(16, AIRLOCK_DESC_NEXT, 1), AIRLOCK_OK);
  EXPECT_EQ(chain_.index, 1U);
  EXPECT_EQ(step(512, AIRLOCK_DESC_NEXT | AIRLOCK_DESC_WRITE, 2), AIRLOCK_OK);
  EXPECT_TRUE(chain_.more);
  EXPECT_EQ(step(1, AIRLOCK_DESC_WRITE), AIRLOCK_OK);
  EXPECT_FALSE(chain_.more);
  EXPECT_EQ(chain_.readable_bytes, 16U);
  EXPECT_EQ(chain_.writable_bytes, 513U);
  EXPECT_EQ(chain_.count, 3U);
  EXPECT_EQ(chain_.ring_count, 3U);
}

TEST_F(CoreChain, RefusesReadableAfterWritable) {
  EXPECT_EQ(step(16, AIRLOCK_DESC_NEXT | AIRLOCK_DESC_WRITE, 1), AIRLOCK_OK);
  EXPECT_EQ(step(16, 0), AIRLOCK_BAD_ORDER);
  EXPECT_EQ(chain_.count, 1U);
}

// VIRTIO 1.3, 2.7.5.1: a loop can't make the device walk on.
TEST_F(CoreChain, RefusesMoreDescriptorsThanTheQueueHas) {
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(step(1, AIRLOCK_DESC_NEXT, 0), AIRLOCK_OK);
  EXPECT_EQ(step(1, 0), AIRLOCK_CHAIN_TOO_LONG);
}

TEST_F(CoreChain, RefusesUnknownFlagsAndIndirectThatWasNotNegotiated) {
  EXPECT_EQ(step(16, AIRLOCK_DESC_INDIRECT), AIRLOCK_BAD_FLAGS);
  EXPECT_EQ(step(16, 8), AIRLOCK_BAD_FLAGS);
  EXPECT_EQ(step(16, AIRLOCK_DESC_AVAIL), AIRLOCK_BAD_FLAGS);
  EXPECT_EQ(step(16, 0), AIRLOCK_OK);
  begin(kPacked);
  EXPECT_EQ(step(16, AIRLOCK_DESC_INDIRECT), AIRLOCK_BAD_FLAGS);
  EXPECT_EQ(step(16, AIRLOCK_DESC_AVAIL | AIRLOCK_DESC_USED), AIRLOCK_OK);
}

TEST_F(CoreChain, RefusesNextOutsideTheTableOnlyWhereItIsUsed) {
  EXPECT_EQ(step(16, AIRLOCK_DESC_NEXT, 4), AIRLOCK_BAD_INDEX);
  EXPECT_EQ(step(16, AIRLOCK_DESC_NEXT, 3), AIRLOCK_OK);
  EXPECT_EQ(step(16, 0, 4), AIRLOCK_OK);
}

// VIRTIO 1.3, 2.7.5: no more than 2^32 bytes in a chain.
TEST_F(CoreChain, RefusesEmptyBuffersAndSumsOver32Bits) {
  EXPECT_EQ(step(0, 0), AIRLOCK_BAD_LENGTH);
  EXPECT_EQ(step(0xffffffff, AIRLOCK_DESC_NEXT, 1), AIRLOCK_OK);
  EXPECT_EQ(step(1, AIRLOCK_DESC_WRITE), AIRLOCK_CHAIN_TOO_BIG);
}

// VIRTIO 1.3, 2.7.5.3.2: plain descriptors may come before the one that names the table, and its
// WRITE flag means nothing.
TEST_F(CoreChain, GoesOnInAnIndirectTable) {
  begin(kSplitIndirect, 2);
  EXPECT_EQ(step(16, AIRLOCK_DESC_NEXT, 1), AIRLOCK_OK);
  EXPECT_EQ(step(32, AIRLOCK_DESC_INDIRECT | AIRLOCK_DESC_WRITE, 9), AIRLOCK_OK);
  EXPECT_TRUE(chain_.in_table);
  EXPECT_FALSE(chain_.writing);
  EXPECT_EQ(chain_.table_address, 0x1000U);
  EXPECT_EQ(chain_.table_entries, 2U);
  EXPECT_EQ(chain_.index, 0U);
  EXPECT_EQ(step(8, AIRLOCK_DESC_NEXT, 2), AIRLOCK_BAD_INDEX);
  EXPECT_EQ(step(8, AIRLOCK_DESC_NEXT, 1), AIRLOCK_OK);
  EXPECT_EQ(step(8, AIRLOCK_DESC_WRITE), AIRLOCK_OK);
  EXPECT_FALSE(chain_.more);
  EXPECT_EQ(chain_.ring_count, 2U);
  EXPECT_EQ(chain_.count, 3U);
}

// VIRTIO 1.3, 2.7.5.3.1.
TEST_F(CoreChain, RefusesTablesThatAreNestedChainedOrOfABadLength) {
  begin(kSplitIndirect);
  EXPECT_EQ(step(16, AIRLOCK_DESC_INDIRECT | AIRLOCK_DESC_NEXT, 1), AIRLOCK_BAD_FLAGS);
  EXPECT_EQ(step(0, AIRLOCK_DESC_INDIRECT), AIRLOCK_BAD_LENGTH);
  EXPECT_EQ(step(15, AIRLOCK_DESC_INDIRECT), AIRLOCK_BAD_LENGTH);
  EXPECT_EQ(step(24, AIRLOCK_DESC_INDIRECT), AIRLOCK_BAD_LENGTH);
  EXPECT_EQ(step(5 * 16, AIRLOCK_DESC_INDIRECT), AIRLOCK_CHAIN_TOO_LONG);
  EXPECT_EQ(step(0xfffffff0, AIRLOCK_DESC_INDIRECT), AIRLOCK_CHAIN_TOO_LONG);
  EXPECT_EQ(step(4 * 16, AIRLOCK_DESC_INDIRECT), AIRLOCK_OK);
  EXPECT_EQ(step(16, AIRLOCK_DESC_INDIRECT), AIRLOCK_BAD_FLAGS);
}

// A loop inside the table ends as one in the ring does.
TEST_F(CoreChain, RefusesALoopInATable) {
  begin(kSplitIndirect);
  EXPECT_EQ(step(2 * 16, AIRLOCK_DESC_INDIRECT), AIRLOCK_OK);
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(step(1, AIRLOCK_DESC_NEXT, 0), AIRLOCK_OK);
  EXPECT_EQ(step(1, 0), AIRLOCK_CHAIN_TOO_LONG);
}

// VIRTIO 1.3, 2.8.5, 2.8.6: descriptors of a packed chain stand behind each other, and the ring
// goes round.
TEST_F(CoreChain, GoesRoundThePackedRing) {
  begin(kPacked, 2);
  EXPECT_EQ(step(16, AIRLOCK_DESC_NEXT | AIRLOCK_DESC_AVAIL, 77), AIRLOCK_OK);
  EXPECT_EQ(chain_.index, 0U);
  EXPECT_EQ(step(16, AIRLOCK_DESC_WRITE | AIRLOCK_DESC_NEXT, 77), AIRLOCK_OK);
  EXPECT_EQ(chain_.index, 1U);
  EXPECT_EQ(step(16, AIRLOCK_DESC_WRITE | AIRLOCK_DESC_NEXT, 77), AIRLOCK_OK);
  EXPECT_EQ(step(16, AIRLOCK_DESC_WRITE, 77), AIRLOCK_CHAIN_TOO_LONG);
}

// VIRTIO 1.3, 2.8.7: a packed table is used whole, and only WRITE means something in it.
TEST_F(CoreChain, TakesAllOfAPackedTable) {
  begin(kPackedIndirect, 1);
  EXPECT_EQ(step(2 * 16, AIRLOCK_DESC_INDIRECT | AIRLOCK_DESC_AVAIL, 77), AIRLOCK_OK);
  EXPECT_EQ(step(16, AIRLOCK_DESC_INDIRECT, 0xffff), AIRLOCK_OK);
  EXPECT_TRUE(chain_.more);
  EXPECT_EQ(step(16, 0xffff, 0), AIRLOCK_OK);
  EXPECT_FALSE(chain_.more);
  EXPECT_EQ(chain_.ring_count, 1U);
  EXPECT_EQ(chain_.readable_bytes, 16U);
  EXPECT_EQ(chain_.writable_bytes, 16U);
}

// VIRTIO 1.3, 2.8.7: in a packed ring a chain is direct or in a table, never both.
TEST_F(CoreChain, RefusesATableBehindPlainDescriptorsOfAPackedRing) {
  begin(kPackedIndirect);
  EXPECT_EQ(step(16, AIRLOCK_DESC_NEXT | AIRLOCK_DESC_AVAIL), AIRLOCK_OK);
  EXPECT_EQ(step(16, AIRLOCK_DESC_INDIRECT), AIRLOCK_BAD_FLAGS);
}

// VIRTIO 1.3, 2.7.7.2, 2.7.10: entry number `event` is among those that were added.
TEST(CoreEvent, IsNeededWhenItsEntryWasPassed) {
  EXPECT_TRUE(airlock_need_event(5, 6, 5));
  EXPECT_FALSE(airlock_need_event(6, 6, 5));
  EXPECT_FALSE(airlock_need_event(4, 6, 5));
  EXPECT_TRUE(airlock_need_event(0xffff, 2, 0xfffe));
  EXPECT_FALSE(airlock_need_event(2, 2, 0xfffe));
}

// VIRTIO 1.3, 2.8.10: against a model that counts entries since ever.
TEST(CoreEvent, OfAPackedRingAgreesWithCountingEntries) {
  constexpr std::uint32_t kSize = 5;
  for (std::uint32_t now = 2 * kSize; now < 6 * kSize; ++now) {
    const bool wrap = (now / kSize) % 2 == 0;
    for (std::uint16_t moved = 1; moved <= kSize; ++moved) {
      // The other side can have seen at most one lap back from where we stand.
      for (std::uint32_t event = now - kSize; event < now + kSize; ++event) {
        const bool lap = (event / kSize) % 2 == 0;
        if (event / kSize + 1 < now / kSize || event / kSize > now / kSize) continue;
        const auto wire = static_cast<std::uint16_t>(event % kSize | (lap ? 0x8000U : 0U));
        EXPECT_EQ(airlock_need_event_packed(wire, static_cast<std::uint16_t>(now % kSize), wrap,
                                            moved, kSize),
                  event < now && event + moved >= now)
            << now << ' ' << moved << ' ' << event;
      }
    }
  }
}

// VIRTIO 1.3, 2.8.1.
TEST(CorePacked, FlagsSayWhoseADescriptorIs) {
  for (const bool wrap : {false, true}) {
    EXPECT_TRUE(airlock_packed_is_available(airlock_packed_available_flags(wrap), wrap));
    EXPECT_FALSE(airlock_packed_is_available(airlock_packed_available_flags(wrap), !wrap));
    EXPECT_FALSE(airlock_packed_is_available(airlock_packed_used_flags(wrap), wrap));
    EXPECT_TRUE(airlock_packed_is_used(airlock_packed_used_flags(wrap), wrap));
    EXPECT_FALSE(airlock_packed_is_used(airlock_packed_used_flags(wrap), !wrap));
    EXPECT_FALSE(airlock_packed_is_used(airlock_packed_available_flags(wrap), wrap));
    EXPECT_FALSE(airlock_packed_is_used(airlock_packed_available_flags(!wrap), wrap));
  }
}

// HD-4, and VIRTIO 1.3, 2.7.6 for the available ring.
TEST(CoreUsed, IndexMayAdvanceByWhatIsOutstandingAndNoFurther) {
  EXPECT_EQ(airlock_check_index_advance(0xffff, 0, 1), AIRLOCK_OK);
  EXPECT_EQ(airlock_check_index_advance(7, 7, 0), AIRLOCK_OK);
  EXPECT_EQ(airlock_check_index_advance(0xffff, 1, 1), AIRLOCK_BAD_INDEX_JUMP);
  EXPECT_EQ(airlock_check_index_advance(5, 4, 256), AIRLOCK_BAD_INDEX_JUMP);
}

// HD-1, HD-2, HD-3.
TEST(CoreUsed, ElementMustNameALiveHeadAndFitItsBuffers) {
  EXPECT_EQ(airlock_check_used_id(255, 256), AIRLOCK_OK);
  EXPECT_EQ(airlock_check_used_id(256, 256), AIRLOCK_BAD_INDEX);
  EXPECT_EQ(airlock_check_used_id(0xffffffff, 256), AIRLOCK_BAD_INDEX);
  EXPECT_EQ(airlock_check_used_element(true, 513, 513), AIRLOCK_OK);
  EXPECT_EQ(airlock_check_used_element(true, 514, 513), AIRLOCK_BAD_LENGTH);
  EXPECT_EQ(airlock_check_used_element(false, 0, 513), AIRLOCK_NOT_OUTSTANDING);
}

}  // namespace
