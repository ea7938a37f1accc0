// SPDX-License-Identifier: Apache-2.0
//
// Goal: with VIRTIO_F_IN_ORDER the device returns chains as it took them, whatever order its I/O
// ends in, and the driver believes a batch only if it is what is outstanding. Method: each order
// and each lie beside its honest twin, in both address modes. VIRTIO 1.3, 2.7.5, 2.7.9.
#include <algorithm>

#include "spec/virtio_ring.h"
#include "testing/split_device_fixture.h"
#include "testing/split_driver_fixture.h"

namespace airlock::ring {
namespace {

using spec::VIRTQ_DESC_F_NEXT;
using testing::ChainBuilder;

// --- device -----------------------------------------------------------------------------------

class SplitDeviceInOrder : public testing::SplitDeviceFixture {
 protected:
  SplitDeviceInOrder() : SplitDeviceFixture({.in_order = true}) {}

  // A chain that the device took.
  Head take() {
    ChainBuilder(driver_).writable(8).submit();
    return popped();
  }
  void push(Head head, std::uint32_t written_bytes) {
    MUST(queue_.push_used(head, written_bytes));
    queue_.publish();
  }
  [[nodiscard]] static UsedElement element(Head head, std::uint32_t length) {
    return {.id = std::to_underlying(head), .length = length};
  }
};

INSTANTIATE_TEST_SUITE_P(Modes, SplitDeviceInOrder, testing::address_modes(), testing::mode_name);

// VIRTIO 1.3, 2.7.9: what ends early is held back until everything before it has ended.
TEST_P(SplitDeviceInOrder, HoldsBackUntilThePredecessorsAreDone) {
  const Head first = take();
  const Head second = take();
  const Head third = take();
  push(third, 3);
  EXPECT_EQ(driver_.used_index(), 0);
  EXPECT_FALSE(queue_.driver_wants_interrupt());
  push(first, 1);
  EXPECT_EQ(driver_.used_index(), 1);
  EXPECT_TRUE(queue_.driver_wants_interrupt());
  push(second, 2);
  EXPECT_EQ(driver_.used_index(), 3);
  EXPECT_EQ(driver_.take_used(), element(first, 1));
  EXPECT_EQ(driver_.take_used(), element(second, 2));
  EXPECT_EQ(driver_.take_used(), element(third, 3));
}

TEST_P(SplitDeviceInOrder, ReturnsInOrderWithoutDelay) {
  const Head first = take();
  const Head second = take();
  push(first, 1);
  EXPECT_EQ(driver_.take_used(), element(first, 1));
  push(second, 2);
  EXPECT_EQ(driver_.take_used(), element(second, 2));
}

// Without the feature nothing is held back.
TEST_P(SplitDeviceInOrder, ReturnsAtOnceWithoutTheFeature) {
  features_ = {};
  queue_ = make();
  static_cast<void>(take());
  const Head second = take();
  push(second, 2);
  EXPECT_EQ(driver_.take_used(), element(second, 2));
}

// What is held back is not the driver's: it can't be made available again.
TEST_P(SplitDeviceInOrder, BreaksOnAHeadThatIsHeldBack) {
  static_cast<void>(take());
  const Head second = take();
  push(second, 0);
  driver_.make_available(std::to_underlying(second));
  EXPECT_EQ(code_of_pop(), Errc::kAlreadyInFlight);
}

TEST_P(SplitDeviceInOrder, TakesAHeadAgainOnceItIsReturned) {
  const Head first = take();
  const Head second = take();
  push(second, 0);
  push(first, 0);
  driver_.make_available(std::to_underlying(second));
  EXPECT_EQ(popped(), second);
}

// in_flight() counts what the device type still has: what is held back it is done with. At rest,
// that is without any in flight, nothing is held back either, and the areas may move.
TEST_P(SplitDeviceInOrder, HasNothingHeldBackAtRest) {
  const Head first = take();
  const Head second = take();
  push(second, 0);
  EXPECT_EQ(queue_.in_flight(), 1U);
  EXPECT_EQ(queue_.rebind().error().code, Errc::kWrongState);
  push(first, 0);
  EXPECT_EQ(queue_.in_flight(), 0U);
  EXPECT_EQ(driver_.used_index(), 2);
  EXPECT_TRUE(queue_.rebind());
}

TEST_P(SplitDeviceInOrder, ReturningWhatIsHeldBackIsOurBug) {
  static_cast<void>(take());
  const Head second = take();
  push(second, 0);
  EXPECT_DEATH(static_cast<void>(queue_.push_used(second, 0)), "bug:");
}

TEST_P(SplitDeviceInOrder, AccountsForEverythingOnceBroken) {
  const Head first = take();
  const Head second = take();
  push(second, 0);
  driver_.make_available(0xffff);
  EXPECT_FALSE(queue_.pop(chain_));
  EXPECT_EQ(queue_.push_used(first, 0).error().code, Errc::kQueueBroken);
  EXPECT_EQ(queue_.in_flight(), 0U);
  queue_.publish();
  EXPECT_EQ(driver_.used_index(), 0);
}

// Every order in which four chains can end, again and again across the wrap of the indices.
TEST_P(SplitDeviceInOrder, KeepsTheOrderWhateverEndsFirst) {
  std::array<int, 4> ends{0, 1, 2, 3};
  for (int round = 0; round < 20000; ++round) {
    const std::uint64_t mark = region_.mark();
    std::array<Head, 4> heads{};
    for (Head& head : heads)
      head = take();
    region_.free_to(mark);
    for (const int end : ends)
      push(heads[static_cast<std::size_t>(end)], static_cast<std::uint32_t>(end));
    for (std::uint32_t i = 0; i < heads.size(); ++i)
      ASSERT_EQ(driver_.take_used(), element(heads[i], i));
    std::ranges::next_permutation(ends);
  }
  EXPECT_EQ(driver_.take_used(), std::nullopt);
}

// --- driver -----------------------------------------------------------------------------------

class SplitDriverInOrder : public testing::SplitDriverFixture {
 protected:
  SplitDriverInOrder() : SplitDriverFixture({.in_order = true}) {}

  // Four published requests of two slots each: the queue is full.
  void fill() {
    for (std::uint64_t i = 0; i < 4; ++i)
      ids_.push_back(request(i));
  }
  [[nodiscard]] static Completion unreported(std::uint16_t id, std::uint64_t cookie) {
    return {.token = Token{id}, .cookie = cookie, .written_bytes = 16, .length_reported = false};
  }
  [[nodiscard]] static Completion reported(std::uint16_t id, std::uint64_t cookie,
                                           std::uint32_t bytes) {
    return {.token = Token{id}, .cookie = cookie, .written_bytes = bytes};
  }

  std::vector<std::uint16_t> ids_;
};

INSTANTIATE_TEST_SUITE_P(Modes, SplitDriverInOrder, testing::address_modes(), testing::mode_name);

// VIRTIO 1.3, 2.7.5, 2.7.5.2: from descriptor 0 on, round the table; next is the one behind.
TEST_P(SplitDriverInOrder, UsesDescriptorsInRingOrder) {
  std::uint32_t expected = 0;
  for (int round = 0; round < 50; ++round) {
    const std::size_t count = 1 + static_cast<std::size_t>(round) % 5;
    const std::vector<Buffer> buffers(count, buffer(1));
    const auto head = std::to_underlying(MUST(queue_.submit(buffers, {}, 0)));
    std::uint32_t at = head;
    for (std::size_t i = 0; i < count; ++i) {
      ASSERT_EQ(at, expected);
      expected = (expected + 1) % kSlots;
      const airlock_descriptor each = device_.descriptor(at);
      ASSERT_EQ((each.flags & VIRTQ_DESC_F_NEXT) != 0, i + 1 < count);
      if (i + 1 < count) {
        ASSERT_EQ(each.next, expected);
      }
      at = expected;
    }
    EXPECT_TRUE(queue_.publish());
    // Two requests stay in the ring most of the time, so that it wraps with something in it.
    if (queue_.free_slots() >= 5) continue;
    while (queue_.outstanding() > 0) {
      const auto entry = static_cast<std::uint16_t>(device_.used_index());
      device_.use(device_.available(entry), 0);
      static_cast<void>(completed());
    }
  }
}

// VIRTIO 1.3, 2.7.9; HD-32: one element for all; only the last has a length.
TEST_P(SplitDriverInOrder, TakesABatchOneCompletionACall) {
  fill();
  device_.use_batch(ids_[2], 5, 3);
  EXPECT_EQ(completed(), unreported(ids_[0], 0));
  EXPECT_EQ(queue_.outstanding(), 3U);
  EXPECT_EQ(completed(), unreported(ids_[1], 1));
  EXPECT_EQ(completed(), reported(ids_[2], 2, 5));
  EXPECT_EQ(MUST(queue_.poll()), std::nullopt);
  EXPECT_EQ(queue_.free_slots(), 6U);
  device_.use(ids_[3], 16);
  EXPECT_EQ(completed(), reported(ids_[3], 3, 16));
}

// A device may also write an element for each; used.idx may cover several batches.
TEST_P(SplitDriverInOrder, TakesAnElementForEachAndSeveralBatchesAtOnce) {
  fill();
  device_.put_used(0, {.id = ids_[0], .length = 1});
  device_.put_used(1, {.id = ids_[3], .length = 2});
  device_.set_used_index(4);
  EXPECT_EQ(completed(), reported(ids_[0], 0, 1));
  EXPECT_EQ(completed(), unreported(ids_[1], 1));
  EXPECT_EQ(completed(), unreported(ids_[2], 2));
  EXPECT_EQ(completed(), reported(ids_[3], 3, 2));
}

// The skipped elements mean nothing, and neither does what is written there.
TEST_P(SplitDriverInOrder, IgnoresTheElementsThatABatchSkips) {
  fill();
  for (std::uint16_t i = 1; i < 4; ++i)
    device_.put_used(i, {.id = 0xffff, .length = ~0U});
  device_.use_batch(ids_[3], 0, 4);
  for (std::uint64_t i = 0; i < 3; ++i)
    EXPECT_EQ(completed(), unreported(ids_[i], i));
  EXPECT_EQ(completed(), reported(ids_[3], 3, 0));
}

// A request that comes while a batch is being handed out is not part of it.
TEST_P(SplitDriverInOrder, SubmitsBetweenTheCompletionsOfABatch) {
  fill();
  device_.use_batch(ids_[1], 0, 2);
  EXPECT_EQ(completed().cookie, 0U);
  const std::uint16_t id = request(9);
  EXPECT_EQ(id, ids_[0]);
  EXPECT_EQ(completed(), reported(ids_[1], 1, 0));
  EXPECT_EQ(MUST(queue_.poll()), std::nullopt);
  device_.use_batch(id, 0, 3);
  EXPECT_EQ(completed().cookie, 2U);
  EXPECT_EQ(completed().cookie, 3U);
  EXPECT_EQ(completed().cookie, 9U);
}

// HD-32: an id further on than used.idx went: "complete all in reverse order".
TEST_P(SplitDriverInOrder, BreaksOnAnIdBeyondTheBatch) {
  fill();
  device_.use(ids_[1], 0);
  EXPECT_EQ(broken_by_poll(), error(Errc::kNotOutstanding, ids_[1]));
}

TEST_P(SplitDriverInOrder, TakesOutOfOrderWithoutTheFeature) {
  features_ = {};
  queue_ = MUST(SplitDriverQueue::create(config(), region_.bytes()));
  fill();
  device_.use(ids_[1], 0);
  EXPECT_EQ(completed(), reported(ids_[1], 1, 0));
}

// HD-32: fewer than used.idx went by: the next element is then due, and is not one.
TEST_P(SplitDriverInOrder, BreaksOnABatchShorterThanTheIndex) {
  fill();
  device_.use_batch(ids_[1], 0, 3);
  EXPECT_EQ(completed().cookie, 0U);
  EXPECT_EQ(completed().cookie, 1U);
  device_.put_used(2, {.id = ids_[1], .length = 0});
  EXPECT_EQ(broken_by_poll(), error(Errc::kNotOutstanding, ids_[1]));
}

// HD-1, HD-2, HD-3, HD-4 hold for a batch too.
TEST_P(SplitDriverInOrder, BreaksOnABatchThatEndsOutsideTheTable) {
  fill();
  device_.use_batch(kSlots, 0, 4);
  EXPECT_EQ(broken_by_poll(), error(Errc::kBadIndex, kSlots));
}

TEST_P(SplitDriverInOrder, BreaksOnABatchThatEndsWithNoHead) {
  fill();
  const auto id = static_cast<std::uint16_t>(ids_[1] + 1);
  device_.use_batch(id, 0, 4);
  EXPECT_EQ(broken_by_poll(), error(Errc::kNotOutstanding, id));
}

TEST_P(SplitDriverInOrder, BreaksOnABatchThatEndsWithWhatIsDone) {
  fill();
  device_.use(ids_[0], 0);
  EXPECT_EQ(completed().cookie, 0U);
  device_.use_batch(ids_[0], 0, 3);
  EXPECT_EQ(broken_by_poll(), error(Errc::kNotOutstanding, ids_[0]));
}

TEST_P(SplitDriverInOrder, BreaksOnABatchThatEndsWithWhatIsNotPublished) {
  ids_.push_back(request(0));
  ids_.push_back(request(1));
  const auto id = std::to_underlying(submit(2));
  device_.use_batch(id, 0, 2);
  EXPECT_EQ(broken_by_poll(), error(Errc::kNotOutstanding, id));
}

TEST_P(SplitDriverInOrder, BreaksOnABatchOfMoreThanIsOutstanding) {
  fill();
  device_.use_batch(ids_[3], 0, 5);
  EXPECT_EQ(broken_by_poll(), error(Errc::kBadIndexJump, 5));
}

// Before any request of the batch is handed out.
TEST_P(SplitDriverInOrder, BreaksOnABatchWhoseLastLengthIsTooMuch) {
  fill();
  device_.use_batch(ids_[3], 17, 4);
  EXPECT_EQ(broken_by_poll(), error(Errc::kBadLength, 17));
}

// HD-23: what a batch returned and was not handed out yet is outstanding still.
TEST_P(SplitDriverInOrder, HandsOutTheRestOfABatchAfterABreak) {
  fill();
  device_.use_batch(ids_[3], 0, 4);
  EXPECT_EQ(completed().cookie, 0U);
  queue_.abandon();
  for (std::uint64_t i = 1; i < 4; ++i)
    EXPECT_EQ(taken().cookie, i);
  EXPECT_EQ(queue_.take_outstanding(), std::nullopt);
  EXPECT_EQ(queue_.free_slots(), kSlots);
}

// Batches of every size while the 16-bit indices go round.
TEST_P(SplitDriverInOrder, OutlivesTheIndices) {
  std::uint64_t cookie = 0;
  std::uint64_t done = 0;
  while (done < 200'000) {
    const std::uint64_t count = 1 + done % 4;
    std::uint16_t last = 0;
    for (std::uint64_t i = 0; i < count; ++i)
      last = std::to_underlying(submit(cookie++));
    EXPECT_TRUE(queue_.publish());
    device_.use_batch(last, 3, static_cast<std::uint16_t>(count));
    for (std::uint64_t i = 0; i < count; ++i)
      ASSERT_EQ(completed().cookie, done++);
  }
}

}  // namespace
}  // namespace airlock::ring
