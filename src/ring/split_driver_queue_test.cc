// SPDX-License-Identifier: Apache-2.0
//
// Goal: no lie of a device makes the driver's queue hand out a wrong completion, lose a request or
// free what is not its own. Method: a raw device tells each lie, beside its honest twin.
#include "ring/split_driver_queue.h"
#include "testing/split_driver_fixture.h"

#include <set>

namespace airlock::ring {
namespace {

using spec::VIRTQ_DESC_F_NEXT;
using spec::VIRTQ_DESC_F_WRITE;
using window::RegionOffset;

class SplitDriverQueueTest : public testing::SplitDriverFixture {};

INSTANTIATE_TEST_SUITE_P(Modes, SplitDriverQueueTest, testing::address_modes(), testing::mode_name);

// --- create -----------------------------------------------------------------------------------

// DEF-7: what a region held before is garbage.
TEST_P(SplitDriverQueueTest, StartsFromZeroedAreas) {
  region_.bytes().copy_in(std::to_underlying(areas_.descriptors),
                          std::vector<std::byte>(layout_.block_bytes(), std::byte{0xa5}));
  auto queue = MUST(SplitDriverQueue::create(config(), region_.bytes()));
  EXPECT_EQ(MUST(queue.poll()), std::nullopt);
  EXPECT_EQ(device_.avail_index(), 0);
  EXPECT_EQ(device_.avail_flags(), 0);
  EXPECT_EQ(device_.descriptor(kSlots - 1).flags, 0);
}

// GEN-DR2, DMB-D6: bus addresses or offsets, as negotiated.
TEST_P(SplitDriverQueueTest, PublishesTheAreasInTheNegotiatedMode) {
  const QueueAreas areas = queue_.published_areas();
  EXPECT_EQ(areas.descriptors, region_.address(areas_.descriptors));
  EXPECT_EQ(areas.driver, region_.address(areas_.driver));
  EXPECT_EQ(areas.device, region_.address(areas_.device));
}

TEST_P(SplitDriverQueueTest, RefusesAreasOutsideTheRegionOrMisaligned) {
  const auto refused = [&](const AreaOffsets& areas) {
    DriverQueueConfig changed = config();
    changed.areas = areas;
    return SplitDriverQueue::create(changed, region_.bytes()).error().code;
  };
  AreaOffsets areas = areas_;
  areas.descriptors = RegionOffset{std::to_underlying(areas_.descriptors) + 8};
  EXPECT_EQ(refused(areas), Errc::kNotAligned);
  areas = areas_;
  areas.driver = RegionOffset{std::to_underlying(areas_.driver) + 1};
  EXPECT_EQ(refused(areas), Errc::kNotAligned);
  areas = areas_;
  areas.device = RegionOffset{std::to_underlying(areas_.device) + 2};
  EXPECT_EQ(refused(areas), Errc::kNotAligned);
  areas = areas_;
  areas.device = RegionOffset{region_.bytes().size() - layout_.device().bytes + 2};
  EXPECT_EQ(refused(areas), Errc::kOutOfRange);
  areas.device = RegionOffset{~std::uint64_t{0} - 3};
  EXPECT_EQ(refused(areas), Errc::kOutOfRange);
}

// DMB-DR3: offset 0 is never published, for an area or a buffer.
TEST(SplitDriverQueueOffset, RefusesOffsetZeroInOffsetModeOnly) {
  for (const auto mode : {window::AddressMode::kBus, window::AddressMode::kOffset}) {
    const bool bus = mode == window::AddressMode::kBus;
    testing::TestRegion region({.mode = mode});
    const QueueSize size = MUST(QueueSize::from(2));
    const DriverQueueConfig at_zero = {.size = size,
                                       .areas = Layout(size).block_at(RegionOffset{0}),
                                       .publisher = region.publisher()};
    EXPECT_EQ(SplitDriverQueue::create(at_zero, region.bytes()).has_value(), bus);
    DriverQueueConfig good = at_zero;
    good.areas = Layout(size).block_at(RegionOffset{4096});
    auto queue = MUST(SplitDriverQueue::create(good, region.bytes()));
    const std::array zero{Buffer{.offset = RegionOffset{0}, .length = 4}};
    EXPECT_EQ(queue.submit(zero, {}, 0).has_value(), bus);
    EXPECT_EQ(queue.outstanding(), bus ? 1U : 0U);
  }
}

// --- submit and publish -----------------------------------------------------------------------

// VIRTIO 1.3, 2.7.4.2, 2.7.13, 2.7.13.1: the chain, readable part first.
TEST_P(SplitDriverQueueTest, WritesTheChainThenTheIndex) {
  const Token token = MUST(
      queue_.submit(std::array{buffer(16), buffer(4096, 16)}, std::array{buffer(1, 8000)}, 42));
  EXPECT_EQ(device_.avail_index(), 0);
  EXPECT_TRUE(queue_.publish());
  EXPECT_EQ(device_.avail_index(), 1);
  EXPECT_EQ(device_.available(0), std::to_underlying(token));
  const airlock_descriptor first = device_.descriptor(device_.available(0));
  EXPECT_EQ(first.address, std::to_underlying(region_.address(data_)));
  EXPECT_EQ(first.length, 16U);
  EXPECT_EQ(first.flags, VIRTQ_DESC_F_NEXT);
  const airlock_descriptor second = device_.descriptor(first.next);
  EXPECT_EQ(second.length, 4096U);
  EXPECT_EQ(second.flags, VIRTQ_DESC_F_NEXT);
  const airlock_descriptor third = device_.descriptor(second.next);
  EXPECT_EQ(third.address, std::to_underlying(region_.address(data_)) + 8000);
  EXPECT_EQ(third.flags, VIRTQ_DESC_F_WRITE);
  device_.use(device_.available(0), 1);
  const Completion done = completed();
  EXPECT_EQ(done.token, token);
  EXPECT_EQ(done.cookie, 42U);
  EXPECT_EQ(done.written_bytes, 1U);
  EXPECT_EQ(queue_.free_slots(), kSlots);
}

// HD-9, DMB-DR4, HD-30: a full queue is back-pressure, and an error changes nothing.
TEST_P(SplitDriverQueueTest, AFullQueueChangesNothing) {
  std::set<Token> tokens;
  for (std::uint32_t i = 0; i < kSlots / 2; ++i)
    tokens.insert(submit(i));
  EXPECT_EQ(tokens.size(), kSlots / 2);
  EXPECT_EQ(queue_.free_slots(), 0U);
  EXPECT_TRUE(queue_.publish());
  const std::vector<std::byte> before = shared();
  EXPECT_EQ(queue_.submit(std::array{buffer(1)}, {}, 9).error(), error(Errc::kQueueFull, 0));
  EXPECT_EQ(shared(), before);
  EXPECT_EQ(queue_.outstanding(), kSlots / 2);
  EXPECT_FALSE(queue_.broken());
  device_.use(device_.available(2), 0);
  EXPECT_EQ(completed().cookie, 2U);
  EXPECT_TRUE(queue_.submit(std::array{buffer(1)}, {}, 9).has_value());
}

TEST_P(SplitDriverQueueTest, RefusesRequestsThatNeverFit) {
  const std::vector<std::byte> before = shared();
  const std::vector<Buffer> nine(kSlots + 1, buffer(1));
  const std::vector<Buffer> eight(kSlots, buffer(1));
  EXPECT_EQ(queue_.submit(nine, {}, 0).error().code, Errc::kChainTooLong);
  EXPECT_EQ(queue_.submit(eight, std::array{buffer(1)}, 0).error().code, Errc::kChainTooLong);
  EXPECT_EQ(queue_.submit({}, {}, 0).error().code, Errc::kBadLength);
  EXPECT_EQ(queue_.submit(std::array{buffer(0)}, {}, 0).error().code, Errc::kBadLength);
  EXPECT_EQ(queue_.submit({}, std::array{buffer(1), buffer(0)}, 0).error().code, Errc::kBadLength);
  EXPECT_EQ(shared(), before);
  EXPECT_EQ(queue_.free_slots(), kSlots);
  EXPECT_TRUE(queue_.submit(eight, {}, 0).has_value());
}

// GEN-DR2, HD-28: no address outside the region leaves the driver.
TEST_P(SplitDriverQueueTest, RefusesBuffersOutsideTheRegion) {
  const std::uint64_t size = region_.bytes().size();
  const auto with = [&](std::uint64_t offset, std::uint32_t length) {
    return queue_.submit({}, std::array{Buffer{.offset = RegionOffset{offset}, .length = length}},
                         0);
  };
  EXPECT_EQ(
      with(size - 16, 17).error(),
      (Error{.code = Errc::kOutOfRange, .queue = kQueue, .detail = 17, .address = size - 16}));
  EXPECT_EQ(with(size, 1).error().code, Errc::kOutOfRange);
  EXPECT_EQ(with(~std::uint64_t{0}, 2).error().code, Errc::kOutOfRange);
  EXPECT_TRUE(with(size - 16, 16).has_value());
}

// VIRTIO 1.3, 2.7.5.2: less than 2^32 bytes a chain.
TEST(SplitDriverQueueBytes, RefusesAChainOf4GiB) {
  constexpr std::uint32_t kMiB = 1 << 20;
  testing::TestRegion region({.size = std::uint64_t{4} * kMiB});
  const QueueSize size = MUST(QueueSize::from(8192));
  const Layout layout(size);
  auto queue = MUST(
      SplitDriverQueue::create({.size = size,
                                .areas = layout.block_at(region.allocate(layout.block_bytes(), 64)),
                                .publisher = region.publisher()},
                               region.bytes()));
  std::vector<Buffer> buffers(4096, {.offset = region.allocate(kMiB), .length = kMiB});
  EXPECT_EQ(queue.submit(buffers, {}, 0).error().code, Errc::kChainTooBig);
  EXPECT_EQ(queue.submit({}, buffers, 0).error().code, Errc::kChainTooBig);
  const std::span all(buffers);
  EXPECT_EQ(queue.submit(all.first(4000), all.last(96), 0).error().code, Errc::kChainTooBig);
  buffers.pop_back();
  EXPECT_TRUE(queue.submit(buffers, {}, 0).has_value());
}

// VIRTIO 1.3, 2.7.10: no notification while NO_NOTIFY is set. HD-21: any value is legal.
TEST_P(SplitDriverQueueTest, NotifiesUnlessTheDeviceAskedNotTo) {
  EXPECT_FALSE(queue_.publish());  // nothing new
  static_cast<void>(submit());
  EXPECT_TRUE(queue_.publish());
  EXPECT_FALSE(queue_.publish());
  device_.set_used_flags(spec::VIRTQ_USED_F_NO_NOTIFY);
  static_cast<void>(submit());
  EXPECT_FALSE(queue_.publish());
  EXPECT_EQ(device_.avail_index(), 2);
  device_.set_used_flags(0xfffe);
  static_cast<void>(submit());
  EXPECT_TRUE(queue_.publish());
  EXPECT_FALSE(queue_.broken());
}

TEST_P(SplitDriverQueueTest, SuppressesInterruptsByFlag) {
  queue_.want_interrupts(false);
  EXPECT_EQ(device_.avail_flags(), spec::VIRTQ_AVAIL_F_NO_INTERRUPT);
  queue_.want_interrupts(true);
  EXPECT_EQ(device_.avail_flags(), 0);
}

// --- poll -------------------------------------------------------------------------------------

// HD-20: a wakeup with nothing behind it is harmless, as often as it comes.
TEST_P(SplitDriverQueueTest, SpuriousWakeupsAreHarmless) {
  EXPECT_EQ(MUST(queue_.poll()), std::nullopt);
  const std::uint16_t id = request();
  for (int i = 0; i < 1000; ++i)
    ASSERT_EQ(MUST(queue_.poll()), std::nullopt);
  device_.use(id, 0);
  EXPECT_TRUE(MUST(queue_.poll()).has_value());
  EXPECT_EQ(MUST(queue_.poll()), std::nullopt);
}

// HD-1.
TEST_P(SplitDriverQueueTest, BreaksOnAnIdOutsideTheTable) {
  request();
  device_.use(kSlots, 0);
  EXPECT_EQ(broken_by_poll(), error(Errc::kBadIndex, kSlots));
}

// HD-1: all 32 bits of the id count, not the low 16.
TEST_P(SplitDriverQueueTest, BreaksOnAnIdThatFitsOnlyIfCut) {
  const std::uint16_t id = request();
  device_.use(0x10000U + id, 0);
  EXPECT_EQ(broken_by_poll(), error(Errc::kBadIndex, 0x10000U + id));
}

// HD-2.
TEST_P(SplitDriverQueueTest, BreaksOnAnIdThatIsNoHead) {
  const std::uint16_t id = request();
  device_.use(device_.descriptor(id).next, 0);
  EXPECT_EQ(broken_by_poll(), error(Errc::kNotOutstanding, device_.descriptor(id).next));
}

// HD-2: a duplicate completion.
TEST_P(SplitDriverQueueTest, BreaksOnAnIdReturnedTwice) {
  const std::uint16_t id = request(7);
  request(8);
  device_.use(id, 0);
  device_.use(id, 0);
  EXPECT_EQ(completed().cookie, 7U);
  EXPECT_EQ(broken_by_poll(), error(Errc::kNotOutstanding, id));
}

// HD-2: the device may have seen the descriptors of what is not published yet.
TEST_P(SplitDriverQueueTest, BreaksOnAnIdThatWasNotPublished) {
  request();
  const auto id = std::to_underlying(submit());
  device_.use(id, 0);
  EXPECT_EQ(broken_by_poll(), error(Errc::kNotOutstanding, id));
}

TEST_P(SplitDriverQueueTest, TakesTheSameIdOncePublished) {
  request();
  const std::uint16_t id = request(5);
  device_.use(id, 0);
  EXPECT_EQ(completed().cookie, 5U);
}

// HD-3.
TEST_P(SplitDriverQueueTest, TakesAnyLengthThatTheBuffersHave) {
  for (const std::uint32_t length : {0U, 1U, 16U}) {
    device_.use(request(), length);
    EXPECT_EQ(completed().written_bytes, length);
  }
}

TEST_P(SplitDriverQueueTest, BreaksOnMoreBytesThanWereWritable) {
  device_.use(request(), 17);
  EXPECT_EQ(broken_by_poll(), error(Errc::kBadLength, 17));
}

TEST_P(SplitDriverQueueTest, BreaksOnBytesOfARequestWithNothingToWrite) {
  const Token token = MUST(queue_.submit(std::array{buffer(4096)}, {}, 0));
  EXPECT_TRUE(queue_.publish());
  device_.use(std::to_underlying(token), 1);
  EXPECT_EQ(broken_by_poll(), error(Errc::kBadLength, 1));
}

TEST_P(SplitDriverQueueTest, BreaksOnTheLargestLength) {
  device_.use(request(), ~0U);
  EXPECT_EQ(broken_by_poll(), error(Errc::kBadLength, ~0U));
}

// HD-4.
TEST_P(SplitDriverQueueTest, BreaksOnAnIndexAheadOfWhatIsOutstanding) {
  const std::uint16_t id = request();
  device_.put_used(0, {.id = id, .length = 0});
  device_.set_used_index(2);
  EXPECT_EQ(broken_by_poll(), error(Errc::kBadIndexJump, 2));
}

TEST_P(SplitDriverQueueTest, BreaksOnAnIndexThatCountsWhatIsNotPublished) {
  const std::uint16_t id = request();
  static_cast<void>(submit());
  device_.put_used(0, {.id = id, .length = 0});
  device_.set_used_index(2);
  EXPECT_EQ(broken_by_poll(), error(Errc::kBadIndexJump, 2));
}

TEST_P(SplitDriverQueueTest, BreaksOnAnIndexThatGoesBack) {
  device_.use(request(), 0);
  ASSERT_TRUE(MUST(queue_.poll()).has_value());
  request();
  device_.set_used_index(0);
  EXPECT_EQ(broken_by_poll(), error(Errc::kBadIndexJump, 0));
}

TEST_P(SplitDriverQueueTest, BreaksOnAnIndexAheadOfAnIdleQueue) {
  device_.set_used_index(1);
  EXPECT_EQ(broken_by_poll(), error(Errc::kBadIndexJump, 1));
}

TEST_P(SplitDriverQueueTest, TakesEverythingThatIsOutstandingAtOnce) {
  for (std::uint64_t i = 0; i < kSlots / 2; ++i)
    request(i);
  for (std::uint16_t i = 0; i < kSlots / 2; ++i) {
    device_.put_used(i, {.id = device_.available(static_cast<std::uint16_t>(3 - i)), .length = 0});
  }
  device_.set_used_index(kSlots / 2);
  for (std::uint64_t i = 0; i < kSlots / 2; ++i)
    EXPECT_EQ(completed().cookie, 3 - i);
  EXPECT_EQ(queue_.outstanding(), 0U);
}

// HD-22; VIRTIO 1.3, 2.7.14: an element counts once the index covers it, not before.
TEST_P(SplitDriverQueueTest, AnElementWithoutItsIndexIsNothing) {
  device_.put_used(0, {.id = request(), .length = 0});
  EXPECT_EQ(MUST(queue_.poll()), std::nullopt);
}

// HD-6, HD-7, DMB-DR5: the descriptor table means nothing to the driver once written.
TEST_P(SplitDriverQueueTest, FreesByItsOwnRecordNotByTheRing) {
  for (int round = 0; round < 100; ++round) {
    const std::uint16_t id = request();
    for (std::uint32_t i = 0; i < kSlots; ++i) {
      device_.scribble_descriptor(i, {.address = ~0ULL, .length = ~0U, .flags = 0xffff, .next = 0});
    }
    device_.use(id, 16);
    ASSERT_TRUE(MUST(queue_.poll()).has_value());
    ASSERT_EQ(queue_.free_slots(), kSlots);
  }
  // Every slot is there, once: a chain of all of them has no slot twice.
  const std::vector<Buffer> all(kSlots, buffer(1));
  std::uint16_t index = std::to_underlying(MUST(queue_.submit(all, {}, 0)));
  std::set<std::uint16_t> seen;
  for (std::uint32_t i = 0; i < kSlots; ++i) {
    EXPECT_TRUE(seen.insert(index).second);
    index = device_.descriptor(index).next;
  }
}

// One request may stay while the 16-bit indices go round, several times.
TEST_P(SplitDriverQueueTest, ALongRequestOutlivesTheIndices) {
  const std::uint16_t slow = request(99);
  for (std::uint32_t i = 0; i < 200'000; ++i) {
    const auto id = std::to_underlying(submit(i));
    const bool pair = i % 3 == 0;
    if (pair) static_cast<void>(submit(i));
    static_cast<void>(queue_.publish());
    device_.use(id, 0);
    ASSERT_EQ(completed().cookie, i);
    if (!pair) continue;
    device_.use(device_.available(static_cast<std::uint16_t>(device_.avail_index() - 1)), 0);
    ASSERT_EQ(completed().cookie, i);
  }
  static_cast<void>(submit(1));
  device_.use(slow, 16);
  EXPECT_EQ(completed().cookie, 99U);
}

// --- after a break ----------------------------------------------------------------------------

// HD-23: every outstanding request ends once, whether or not it was published.
TEST_P(SplitDriverQueueTest, HandsOutEachOutstandingRequestOnceAfterABreak) {
  for (const std::uint64_t cookie : {10U, 11U, 12U})
    request(cookie);
  device_.use(device_.available(1), 0);
  device_.use(0xffff, 0);
  static_cast<void>(submit(13));
  EXPECT_EQ(completed().cookie, 11U);
  EXPECT_EQ(broken_by_poll().code, Errc::kBadIndex);
  std::multiset<std::uint64_t> cookies;
  while (const auto taken = queue_.take_outstanding())
    cookies.insert(taken->cookie);
  EXPECT_EQ(cookies, (std::multiset<std::uint64_t>{10, 12, 13}));
  EXPECT_EQ(queue_.outstanding(), 0U);
  EXPECT_EQ(queue_.take_outstanding(), std::nullopt);
}

// HD-18, HD-23: after a reset nothing that the device wrote counts.
TEST_P(SplitDriverQueueTest, AnAbandonedQueueCompletesNothing) {
  device_.use(request(6), 0);
  queue_.abandon();
  EXPECT_EQ(queue_.broken(), error(Errc::kQueueBroken, 0));
  EXPECT_EQ(queue_.poll().error().code, Errc::kQueueBroken);
  EXPECT_EQ(taken().cookie, 6U);
  EXPECT_EQ(queue_.take_outstanding(), std::nullopt);
}

TEST_P(SplitDriverQueueTest, TheFirstViolationIsTheOneThatIsReported) {
  request();
  device_.use(kSlots, 0);
  const Error first = broken_by_poll();
  queue_.abandon();
  EXPECT_EQ(queue_.broken(), first);
}

TEST_P(SplitDriverQueueTest, TakingRequestsFromALiveQueueIsOurBug) {
  request();
  EXPECT_DEATH(static_cast<void>(queue_.take_outstanding()), "bug:");
}

}  // namespace
}  // namespace airlock::ring
