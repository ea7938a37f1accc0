// SPDX-License-Identifier: Apache-2.0
//
// Goal: a queue goes on only from a record of its own kind, and what a driver wrote into the region
// meanwhile breaks its queue and nothing else. Method: records and rings written by hand.
// docs/RESTART.md.
#include "ring/queue_record.h"

#include <gtest/gtest.h>

#include "testing/chain_builder.h"
#include "testing/packed_device_fixture.h"
#include "testing/split_device_fixture.h"
#include "testing/state_page.h"

namespace airlock::ring {
namespace {

using testing::ChainBuilder;
using testing::StatePage;

constexpr std::uint16_t kFirstLap = 0x8000;

const QueueSize kSix = MUST(QueueSize::from(6, Format::kPacked));

spec::VirtqState state(std::uint16_t live, std::uint16_t size, std::uint16_t position = 0,
                       std::uint16_t next = 0) {
  return {.live = Le16(live), .size = Le16(size), .position = Le16(position), .next = Le16(next)};
}

TEST(QueueRecord, IsNothingUnlessItIsGiven) {
  const QueueRecord none;
  EXPECT_FALSE(none);
  EXPECT_FALSE(none.live());
  EXPECT_FALSE(MUST(none.find(Format::kPacked, kSix)));
}

TEST(QueueRecord, IsLiveFromItsBeginningUntilItIsForgotten) {
  const StatePage page;
  const QueueRecord record = page.record(1);
  EXPECT_TRUE(record);
  EXPECT_FALSE(record.live());
  EXPECT_FALSE(MUST(record.find(Format::kPacked, kSix)));
  PackedPosition now;
  now.advance(5, kSix);
  record.begin(Format::kPacked, kSix, now);
  EXPECT_TRUE(record.live());
  EXPECT_EQ(MUST(record.find(Format::kPacked, kSix)),
            (QueueRecord::Progress{.position = now, .next = now}));
  PackedPosition next = now;
  next.advance(2, kSix);
  record.advance(now, next);
  EXPECT_EQ(MUST(record.find(Format::kPacked, kSix)),
            (QueueRecord::Progress{.position = now, .next = next}));
  EXPECT_FALSE(page.record(0).live());
  EXPECT_FALSE(page.record(2).live());
  record.forget();
  EXPECT_FALSE(record.live());
}

// Of another format or size, or with a slot that the ring does not have.
TEST(QueueRecord, RefusesWhatIsNotOfThisQueue) {
  const StatePage page;
  const auto code = [&](const spec::VirtqState& written) {
    page.put(0, written);
    const auto found = page.record().find(Format::kPacked, kSix);
    return found ? Errc::kSystem : found.error().code;
  };
  EXPECT_EQ(code(state(spec::QUEUE_STATE_PACKED, 6, kFirstLap | 5, 5)), Errc::kSystem);
  EXPECT_EQ(code(state(spec::QUEUE_STATE_SPLIT, 6)), Errc::kWrongState);
  EXPECT_EQ(code(state(3, 6)), Errc::kWrongState);
  EXPECT_EQ(code(state(spec::QUEUE_STATE_PACKED, 8)), Errc::kWrongState);
  EXPECT_EQ(code(state(spec::QUEUE_STATE_PACKED, 6, 6, 0)), Errc::kWrongState);
  EXPECT_EQ(code(state(spec::QUEUE_STATE_PACKED, 6, 0, kFirstLap | 6)), Errc::kWrongState);
}

class SplitResume : public testing::SplitDeviceFixture {
 protected:
  [[nodiscard]] Result<SplitDeviceQueue> resume() {
    driver_.config().record = page_.record();
    return SplitDeviceQueue::create(driver_.config(), region_.window());
  }
  StatePage page_;
};

INSTANTIATE_TEST_SUITE_P(Modes, SplitResume, testing::address_modes(), testing::mode_name);

// Without a live record it is a new queue, whatever stands in the ring.
TEST_P(SplitResume, StartsEmptyWithoutALiveRecord) {
  queue_ = MUST(resume());
  ChainBuilder(driver_).writable(8).submit();
  MUST(queue_.push_used(popped(), 0));
  queue_.publish();
  EXPECT_EQ(driver_.used_index(), 1);
  page_.record().forget();
  queue_ = MUST(resume());
  EXPECT_TRUE(MUST(queue_.pop(chain_))) << "the first entry again";
  EXPECT_TRUE(page_.record().live());
}

TEST_P(SplitResume, GoesOnBehindTheUsedIndex) {
  queue_ = MUST(resume());
  const auto first = ChainBuilder(driver_).writable(8).submit();
  const auto second = ChainBuilder(driver_).writable(8).submit();
  const Head one = popped();
  const Head two = popped();
  MUST(queue_.push_used(two, 8));
  queue_.publish();
  EXPECT_EQ(driver_.used_index(), 0) << "held back, without VIRTIO_F_IN_ORDER too";
  MUST(queue_.push_used(one, 4));
  queue_.publish();
  static_cast<void>(ChainBuilder(driver_).writable(8).submit());
  queue_ = MUST(resume());
  const Head three = popped();
  EXPECT_FALSE(MUST(queue_.pop(chain_)));
  MUST(queue_.push_used(three, 1));
  queue_.publish();
  EXPECT_EQ(driver_.take_used()->id, first.head());
  EXPECT_EQ(driver_.take_used()->id, second.head());
  EXPECT_EQ(driver_.take_used()->length, 1U);
}

// The driver can write used.idx too: what it makes of it is its own queue's end, at most.
TEST_P(SplitResume, BreaksWhereTheDriverMovedTheUsedIndex) {
  queue_ = MUST(resume());
  queue_.publish();
  const auto used =
      MUST(region_.window().translate(driver_.config().areas.device, 4, window::Access::kWrite));
  used.store_relaxed<Le16>(2, Le16(5));
  driver_.set_avail_index(4);
  queue_ = MUST(resume());
  EXPECT_EQ(broken_by_pop().code, Errc::kBadIndexJump);
}

TEST_P(SplitResume, RefusesARecordOfAnotherQueue) {
  page_.put(0, state(spec::QUEUE_STATE_PACKED, kSlots));
  const auto made = resume();
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error(), (Error{.code = Errc::kWrongState, .queue = kQueue}));
}

class PackedResume : public testing::PackedDeviceFixture {
 protected:
  [[nodiscard]] Result<PackedDeviceQueue> resume() {
    driver_.config().record = page_.record();
    return PackedDeviceQueue::create(driver_.config(), region_.window());
  }
  StatePage page_;
};

INSTANTIATE_TEST_SUITE_P(Modes, PackedResume, testing::address_modes(), testing::mode_name);

// A used descriptor is never there before its turn, nor before publish(): not a byte of it.
TEST_P(PackedResume, TouchesNoDescriptorBeforeItsTurn) {
  queue_ = MUST(resume());
  offer(10, 2);
  offer(11);
  const Head first = take();
  const Head second = take();
  const auto untouched = driver_.descriptor(0);
  give_back(second, 1);
  queue_.publish();
  give_back(first, 1);
  EXPECT_EQ(driver_.descriptor(0).length, untouched.length);
  EXPECT_EQ(driver_.descriptor(0).flags, untouched.flags);
  EXPECT_FALSE(driver_.take_used(2));
  queue_.publish();
  EXPECT_EQ(driver_.take_used(2), (testing::FakePackedDriver::Used{10, 1, true}));
  EXPECT_EQ(driver_.take_used(1), (testing::FakePackedDriver::Used{11, 1, true}));
}

// The record is written ahead: whether the descriptor was shown decides which of its two counts.
TEST_P(PackedResume, GoesOnWhereTheDescriptorSaysItStands) {
  offer(10, 2);
  offer(11);
  const auto before = driver_.descriptor(0);
  page_.put(0, state(spec::QUEUE_STATE_PACKED, kSlots, kFirstLap, kFirstLap | 2));
  queue_ = MUST(resume());
  EXPECT_EQ(std::to_underlying(take()), 0U);
  EXPECT_EQ(chain_.writable_bytes(), 2U) << "not shown: it is to be done again";

  page_.put(0, state(spec::QUEUE_STATE_PACKED, kSlots, kFirstLap, kFirstLap | 2));
  driver_.set_flags(0, airlock_packed_used_flags(true));
  queue_ = MUST(resume());
  static_cast<void>(take());
  EXPECT_EQ(chain_.writable_bytes(), 1U) << "shown: the next one is";
  EXPECT_FALSE(MUST(queue_.pop(chain_)));

  // Shown, and made available again in the next lap by a driver that is quick.
  page_.put(0, state(spec::QUEUE_STATE_PACKED, kSlots, kFirstLap, kFirstLap | 2));
  driver_.put_descriptor(0, {.address = before.address,
                             .length = before.length,
                             .flags = airlock_packed_available_flags(false),
                             .next = 12});
  queue_ = MUST(resume());
  static_cast<void>(take());
  EXPECT_EQ(chain_.writable_bytes(), 1U);
}

TEST_P(PackedResume, RefusesARecordOfAnotherQueue) {
  page_.put(0, state(spec::QUEUE_STATE_SPLIT, kSlots));
  const auto made = resume();
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error(), (Error{.code = Errc::kWrongState, .queue = kQueue}));
}

}  // namespace
}  // namespace airlock::ring
