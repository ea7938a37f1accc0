// SPDX-License-Identifier: Apache-2.0
//
// Goal: no lie of a device makes the driver's packed queue hand out a wrong completion, lose a
// request or free what is not its own. Method: a raw device tells each lie, beside its honest twin.
#include "ring/packed_driver_queue.h"

#include <gtest/gtest.h>

#include <set>

#include "core/packed.h"
#include "testing/interleaver.h"
#include "testing/packed_driver_fixture.h"

namespace airlock::ring {
namespace {

using spec::VIRTQ_DESC_F_AVAIL;
using spec::VIRTQ_DESC_F_INDIRECT;
using spec::VIRTQ_DESC_F_NEXT;
using spec::VIRTQ_DESC_F_USED;
using spec::VIRTQ_DESC_F_WRITE;
using window::RegionOffset;

using PackedDriverQueueTest = testing::PackedDriverFixture;

INSTANTIATE_TEST_SUITE_P(Modes, PackedDriverQueueTest, testing::address_modes(),
                         testing::mode_name);

// --- create -----------------------------------------------------------------------------------

// DEF-7: what a region held before is garbage. VIRTIO 1.3, 2.8.13: the ring is zero-initialized.
TEST_P(PackedDriverQueueTest, StartsFromZeroedAreas) {
  region_.bytes().copy_in(std::to_underlying(areas_.descriptors),
                          std::vector<std::byte>(layout_.block_bytes(), std::byte{0xa5}));
  negotiate({});
  EXPECT_EQ(MUST(queue_.poll()), std::nullopt);
  EXPECT_EQ(device_.driver_event(), PackedEvent{});
  for (std::uint32_t i = 0; i < kSlots; ++i) {
    EXPECT_EQ(device_.descriptor(i).flags, 0);
    EXPECT_EQ(device_.descriptor(i).address, 0U);
  }
}

// GEN-DR2, DMB-D6: bus addresses or offsets, as negotiated.
TEST_P(PackedDriverQueueTest, PublishesTheAreasInTheNegotiatedMode) {
  const QueueAreas areas = queue_.published_areas();
  EXPECT_EQ(areas.descriptors, region_.address(areas_.descriptors));
  EXPECT_EQ(areas.driver, region_.address(areas_.driver));
  EXPECT_EQ(areas.device, region_.address(areas_.device));
}

// VIRTIO 1.3, 2.8.11.
TEST_P(PackedDriverQueueTest, RefusesAreasOutsideTheRegionOrMisaligned) {
  const auto refused = [&](const AreaOffsets& areas) {
    DriverQueueConfig changed = config();
    changed.areas = areas;
    return PackedDriverQueue::create(changed, region_.bytes()).error().code;
  };
  AreaOffsets areas = areas_;
  areas.descriptors = RegionOffset{std::to_underlying(areas_.descriptors) + 8};
  EXPECT_EQ(refused(areas), Errc::kNotAligned);
  areas = areas_;
  areas.driver = RegionOffset{std::to_underlying(areas_.driver) + 2};
  EXPECT_EQ(refused(areas), Errc::kNotAligned);
  areas = areas_;
  areas.device = RegionOffset{std::to_underlying(areas_.device) + 2};
  EXPECT_EQ(refused(areas), Errc::kNotAligned);
  areas = areas_;
  areas.device = RegionOffset{region_.bytes().size()};
  EXPECT_EQ(refused(areas), Errc::kOutOfRange);
  areas.device = RegionOffset{~std::uint64_t{0} - 3};
  EXPECT_EQ(refused(areas), Errc::kOutOfRange);
}

// GEN-DR2: the indirect tables too, if there are any.
TEST_P(PackedDriverQueueTest, RefusesTablesOutsideTheRegion) {
  DriverQueueConfig changed = config({.indirect = true});
  EXPECT_TRUE(PackedDriverQueue::create(changed, region_.bytes()));
  changed.tables.start = RegionOffset{region_.bytes().size() - 64};
  EXPECT_EQ(PackedDriverQueue::create(changed, region_.bytes()).error().code, Errc::kOutOfRange);
  changed.features.indirect = false;
  EXPECT_TRUE(PackedDriverQueue::create(changed, region_.bytes()));
}

// DMB-DR3: offset 0 is never published, for an area or a buffer.
TEST_P(PackedDriverQueueTest, RefusesOffsetZeroInOffsetModeOnly) {
  const bool bus = GetParam() == window::AddressMode::kBus;
  DriverQueueConfig at_zero = config();
  at_zero.areas = layout_.block_at(RegionOffset{0});
  EXPECT_EQ(PackedDriverQueue::create(at_zero, region_.bytes()).has_value(), bus);
  const std::array zero{Buffer{.offset = RegionOffset{0}, .length = 4}};
  EXPECT_EQ(queue_.submit(zero, {}, 0).has_value(), bus);
  EXPECT_EQ(queue_.outstanding(), bus ? 1U : 0U);
}

// --- submit and publish -----------------------------------------------------------------------

// VIRTIO 1.3, 2.8.6, 2.8.17, 2.8.21, 2.8.21.1: the chain, readable part first, the id in the last,
// and the flags of its first descriptor after everything else.
TEST_P(PackedDriverQueueTest, WritesTheChainThenTheFlagsOfItsHead) {
  const Token token = MUST(
      queue_.submit(std::array{buffer(16), buffer(4096, 16)}, std::array{buffer(1, 8000)}, 42));
  EXPECT_FALSE(device_.is_available(0, true));
  EXPECT_TRUE(queue_.publish());
  const airlock_descriptor first = device_.descriptor(0);
  EXPECT_EQ(first.address, std::to_underlying(region_.address(data_)));
  EXPECT_EQ(first.length, 16U);
  EXPECT_EQ(first.flags, VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_AVAIL);
  const airlock_descriptor second = device_.descriptor(1);
  EXPECT_EQ(second.length, 4096U);
  EXPECT_EQ(second.flags, VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_AVAIL);
  const airlock_descriptor third = device_.descriptor(2);
  EXPECT_EQ(third.address, std::to_underlying(region_.address(data_)) + 8000);
  EXPECT_EQ(third.flags, VIRTQ_DESC_F_WRITE | VIRTQ_DESC_F_AVAIL);
  EXPECT_EQ(third.next, std::to_underlying(token));
  device_.use(third.next, 1, 3);
  EXPECT_EQ(completed(), (Completion{.token = token, .cookie = 42, .written_bytes = 1}));
  EXPECT_EQ(queue_.free_slots(), kSlots);
}

// VIRTIO 1.3, 2.8.1: the marks of the second lap are the inverse of those of the first.
TEST_P(PackedDriverQueueTest, TheWrapCounterTurnsWithEachLap) {
  for (std::uint32_t i = 0; i < 5; ++i) {
    const std::uint16_t id = request(i);
    device_.use(id, 0, 2);
    EXPECT_EQ(completed().cookie, i);
  }
  // Requests four and five wrapped: the last is in slots 1 and 2 of the second lap.
  EXPECT_EQ(device_.descriptor(2).flags, VIRTQ_DESC_F_WRITE | VIRTQ_DESC_F_USED);
}

// HD-9; VIRTIO 1.3, 2.8.17: a device that looks at one descriptor after the other sees all that was
// submitted or nothing, whenever it looks.
TEST_P(PackedDriverQueueTest, ABatchShowsAtOnce) {
  ASSERT_TRUE(shm::kAccessHook);
  std::uint32_t seen = 0;
  for (std::uint32_t number = 1;; ++number) {
    negotiate({});
    testing::Strike strike(region_.bytes(), number, [&] {
      if (!device_.is_available(0, true)) return;
      ++seen;
      for (std::uint32_t i = 1; i < 6; ++i)
        EXPECT_TRUE(device_.is_available(i, true)) << "before access " << number << ", slot " << i;
    });
    strike.during([&] {
      for (std::uint64_t i = 0; i < 3; ++i)
        submit(i);
      static_cast<void>(queue_.publish());
    });
    if (!strike.happened()) break;
    ASSERT_LT(number, 100U);
  }
  EXPECT_EQ(seen, 1U);  // before the look at the device's event, and no earlier
}

// HD-9, DMB-DR4, HD-30: a full queue is back-pressure, and an error changes nothing.
TEST_P(PackedDriverQueueTest, AFullQueueChangesNothing) {
  std::vector<std::uint16_t> ids;
  for (std::uint32_t i = 0; i < 3; ++i)
    ids.push_back(std::to_underlying(submit(i)));
  EXPECT_EQ(std::set(ids.begin(), ids.end()).size(), 3U);
  EXPECT_EQ(queue_.free_slots(), 1U);
  EXPECT_TRUE(queue_.publish());
  const std::vector<std::byte> before = shared();
  const std::array two{buffer(1), buffer(1)};
  EXPECT_EQ(queue_.submit(two, {}, 9).error(), error(Errc::kQueueFull, 0));
  EXPECT_EQ(shared(), before);
  EXPECT_EQ(queue_.outstanding(), 3U);
  EXPECT_FALSE(queue_.broken());
  device_.use(ids[2], 0, 2);
  EXPECT_EQ(completed().cookie, 2U);
  EXPECT_TRUE(queue_.submit(two, {}, 9).has_value());
}

// VIRTIO 1.3, 2.8.17: no list longer than the queue.
TEST_P(PackedDriverQueueTest, RefusesRequestsThatNeverFit) {
  const std::vector<std::byte> before = shared();
  const std::vector<Buffer> eight(kSlots + 1, buffer(1));
  const std::vector<Buffer> seven(kSlots, buffer(1));
  EXPECT_EQ(queue_.submit(eight, {}, 0).error().code, Errc::kChainTooLong);
  EXPECT_EQ(queue_.submit(seven, std::array{buffer(1)}, 0).error().code, Errc::kChainTooLong);
  EXPECT_EQ(queue_.submit({}, {}, 0).error().code, Errc::kBadLength);
  EXPECT_EQ(queue_.submit(std::array{buffer(0)}, {}, 0).error().code, Errc::kBadLength);
  EXPECT_EQ(queue_.submit({}, std::array{buffer(1), buffer(0)}, 0).error().code, Errc::kBadLength);
  EXPECT_EQ(shared(), before);
  EXPECT_EQ(queue_.free_slots(), kSlots);
  EXPECT_TRUE(queue_.submit(seven, {}, 0).has_value());
}

// GEN-DR2, HD-28: no address outside the region leaves the driver.
TEST_P(PackedDriverQueueTest, RefusesBuffersOutsideTheRegion) {
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

// VIRTIO 1.3, 2.8.4: less than 2^32 bytes a chain, since a used length has 32 bits.
TEST(PackedDriverQueueBytes, RefusesAChainOf4GiB) {
  constexpr std::uint32_t kMiB = 1 << 20;
  testing::TestRegion region({.size = std::uint64_t{4} * kMiB});
  const QueueSize size = MUST(QueueSize::from(5000, Format::kPacked));
  const Layout layout(size, Format::kPacked);
  auto queue = MUST(PackedDriverQueue::create(
      {.size = size,
       .areas = layout.block_at(region.allocate(layout.block_bytes(), 64)),
       .publisher = region.publisher(),
       .features = {.format = Format::kPacked}},
      region.bytes()));
  std::vector<Buffer> buffers(4096, {.offset = region.allocate(kMiB), .length = kMiB});
  const std::span all(buffers);
  EXPECT_EQ(queue.submit(buffers, {}, 0).error().code, Errc::kChainTooBig);
  EXPECT_EQ(queue.submit(all.first(4000), all.last(96), 0).error().code, Errc::kChainTooBig);
  buffers.pop_back();
  EXPECT_TRUE(queue.submit(buffers, {}, 0).has_value());
}

// --- indirect tables --------------------------------------------------------------------------

// VIRTIO 1.3, 2.8.7, 2.8.19: only WRITE in a table; the ring's descriptor has its length in bytes.
TEST_P(PackedDriverQueueTest, WritesATableWhereTheRequestFitsOne) {
  negotiate({.indirect = true});
  const std::uint16_t id = request();
  EXPECT_EQ(queue_.free_slots(), kSlots - 1);
  const airlock_descriptor named = device_.descriptor(0);
  EXPECT_EQ(named.flags, VIRTQ_DESC_F_INDIRECT | VIRTQ_DESC_F_AVAIL);
  EXPECT_EQ(named.length, 32U);
  EXPECT_EQ(named.next, id);
  EXPECT_EQ(named.address, std::to_underlying(region_.address(tables_)) +
                               std::uint64_t{id} * kTableEntries * AIRLOCK_DESC_BYTES);
  const auto table = MUST(region_.bytes().slice(
      std::to_underlying(tables_) + std::uint64_t{id} * kTableEntries * AIRLOCK_DESC_BYTES, 32));
  const auto data = std::to_underlying(region_.address(data_));
  EXPECT_EQ(table.load_relaxed<Le64>(0).get(), data);
  EXPECT_EQ(table.load_relaxed<Le64>(8).get(), 16U);
  EXPECT_EQ(table.load_relaxed<Le64>(16).get(), data + 16);
  EXPECT_EQ(table.load_relaxed<Le64>(24).get(), 16U | std::uint64_t{VIRTQ_DESC_F_WRITE} << 48);
  device_.use(id, 16, 1);
  EXPECT_EQ(completed().written_bytes, 16U);
}

TEST_P(PackedDriverQueueTest, WritesNoTableWhereSlotsAreSpare) {
  DriverQueueConfig sparing = config({.indirect = true});
  sparing.tables.spare = kSlots - 2;
  auto queue = MUST(PackedDriverQueue::create(sparing, region_.bytes()));
  for (const std::uint32_t slot : {0U, 2U, 4U}) {
    const bool in_table = slot == 4;
    const std::uint32_t before = queue.free_slots();
    MUST(queue.submit(std::array{buffer(1), buffer(1)}, {}, 0));
    EXPECT_TRUE(queue.publish());
    EXPECT_EQ((device_.descriptor(slot).flags & VIRTQ_DESC_F_INDIRECT) != 0, in_table);
    EXPECT_EQ(before - queue.free_slots(), in_table ? 1U : 2U);
  }
}

TEST_P(PackedDriverQueueTest, WritesNoTableForOneBufferOrMoreThanFit) {
  negotiate({.indirect = true});
  EXPECT_EQ(queue_.slots_for(1), 1U);
  EXPECT_EQ(queue_.slots_for(2), 1U);
  EXPECT_EQ(queue_.slots_for(3), 1U);
  EXPECT_EQ(queue_.slots_for(4), 4U);
  MUST(queue_.submit(std::vector<Buffer>(4, buffer(1)), {}, 0));
  MUST(queue_.submit(std::array{buffer(1)}, {}, 0));
  EXPECT_EQ(queue_.free_slots(), kSlots - 5);
  for (std::uint32_t i = 0; i < 5; ++i)
    EXPECT_EQ(device_.descriptor(i).flags & VIRTQ_DESC_F_INDIRECT, 0);
}

// VIRTIO 1.3, 2.8.19: never without the feature, though there is room for tables.
TEST_P(PackedDriverQueueTest, WritesNoTableThatWasNotNegotiated) {
  EXPECT_EQ(queue_.slots_for(2), 2U);
  request();
  EXPECT_EQ(device_.descriptor(0).flags & VIRTQ_DESC_F_INDIRECT, 0);
}

// As many tables as ids: none is written while its request is outstanding.
TEST_P(PackedDriverQueueTest, EachOutstandingRequestHasATableOfItsOwn) {
  negotiate({.indirect = true});
  std::set<std::uint64_t> tables;
  for (std::uint32_t i = 0; i < kSlots; ++i) {
    request(i);
    tables.insert(device_.descriptor(i).address);
  }
  EXPECT_EQ(tables.size(), kSlots);
  EXPECT_EQ(queue_.free_slots(), 0U);
}

// --- poll -------------------------------------------------------------------------------------

// HD-20: a wakeup with nothing behind it is harmless, as often as it comes.
TEST_P(PackedDriverQueueTest, SpuriousWakeupsAreHarmless) {
  EXPECT_EQ(MUST(queue_.poll()), std::nullopt);
  const std::uint16_t id = request();
  for (int i = 0; i < 1000; ++i)
    ASSERT_EQ(MUST(queue_.poll()), std::nullopt);
  device_.use(id, 0, 2);
  EXPECT_TRUE(MUST(queue_.poll()).has_value());
  EXPECT_EQ(MUST(queue_.poll()), std::nullopt);
}

// HD-11: flags, id and length of a used descriptor are read once, and nothing else.
TEST_P(PackedDriverQueueTest, ReadsNothingTwice) {
  ASSERT_TRUE(shm::kAccessHook);
  device_.use(request(), 16, 2);
  testing::DoubleFetchDetector detector(region_.bytes());
  const auto found = detector.watch([&] { completed(); });
  EXPECT_TRUE(found.empty()) << testing::describe(found);
  EXPECT_EQ(detector.loads(), 3U);
}

// HD-5; VIRTIO 1.3, 2.8.1: used is what has both marks of this lap.
TEST_P(PackedDriverQueueTest, TakesOnlyWhatIsMarkedAsUsedInThisLap) {
  const std::uint16_t id = request();
  for (const std::uint16_t mark : {std::uint16_t{0}, VIRTQ_DESC_F_AVAIL, VIRTQ_DESC_F_USED}) {
    device_.put_descriptor(0, {.address = 0, .length = 0, .flags = mark, .next = id});
    EXPECT_EQ(MUST(queue_.poll()), std::nullopt) << mark;
  }
  device_.use(id, 0, 2);
  EXPECT_TRUE(MUST(queue_.poll()).has_value());
}

TEST_P(PackedDriverQueueTest, TakesNothingThatIsMarkedAsUsedInTheLapBefore) {
  for (int i = 0; i < 4; ++i) {
    device_.use(request(), 0, 2);
    completed();
  }
  const std::uint16_t id = request();  // slots 1 and 2 of the second lap
  device_.put_descriptor(
      1, {.address = 0, .length = 0, .flags = VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED, .next = id});
  EXPECT_EQ(MUST(queue_.poll()), std::nullopt);
  device_.put_descriptor(1, {.address = 0, .length = 0, .flags = 0, .next = id});
  EXPECT_TRUE(MUST(queue_.poll()).has_value());
}

// HD-1.
TEST_P(PackedDriverQueueTest, BreaksOnAnIdThatIsNone) {
  request();
  device_.use(kSlots, 0, 2);
  EXPECT_EQ(broken_by_poll(), error(Errc::kBadIndex, kSlots));
}

TEST_P(PackedDriverQueueTest, BreaksOnTheLargestId) {
  request();
  device_.use(0xffff, 0, 2);
  EXPECT_EQ(broken_by_poll(), error(Errc::kBadIndex, 0xffff));
}

// HD-2.
TEST_P(PackedDriverQueueTest, BreaksOnAnIdThatIsNotOutstanding) {
  const std::uint16_t id = request();
  const auto other = static_cast<std::uint16_t>((id + 1) % kSlots);
  device_.use(other, 0, 2);
  EXPECT_EQ(broken_by_poll(), error(Errc::kNotOutstanding, other));
}

// HD-2: a duplicate completion.
TEST_P(PackedDriverQueueTest, BreaksOnAnIdReturnedTwice) {
  const std::uint16_t id = request(7);
  request(8);
  device_.use(id, 0, 2);
  device_.use(id, 0, 2);
  EXPECT_EQ(completed().cookie, 7U);
  EXPECT_EQ(broken_by_poll(), error(Errc::kNotOutstanding, id));
}

// HD-2: the device may have seen the descriptors of what is not published yet.
TEST_P(PackedDriverQueueTest, BreaksOnAnIdThatWasNotPublished) {
  request();
  const auto id = std::to_underlying(submit());
  device_.use(id, 0, 2);
  EXPECT_EQ(broken_by_poll(), error(Errc::kNotOutstanding, id));
}

TEST_P(PackedDriverQueueTest, TakesTheSameIdOncePublished) {
  request();
  const std::uint16_t id = request(5);
  device_.use(id, 0, 2);
  EXPECT_EQ(completed().cookie, 5U);
}

// HD-4: never more completions than are outstanding.
TEST_P(PackedDriverQueueTest, BreaksOnOneCompletionMoreThanIsOutstanding) {
  const std::array ids{request(1), request(2), request(3)};
  for (const std::uint16_t id : ids)
    device_.use(id, 0, 2);
  device_.use(ids[0], 0, 1);
  for (std::uint64_t cookie = 1; cookie <= 3; ++cookie)
    EXPECT_EQ(completed().cookie, cookie);
  EXPECT_EQ(broken_by_poll(), error(Errc::kNotOutstanding, ids[0]));
}

TEST_P(PackedDriverQueueTest, BreaksOnACompletionOfAnIdleQueue) {
  device_.use(0, 0, 1);
  EXPECT_EQ(broken_by_poll(), error(Errc::kNotOutstanding, 0));
}

// HD-3.
TEST_P(PackedDriverQueueTest, TakesAnyLengthThatTheBuffersHave) {
  for (const std::uint32_t length : {0U, 1U, 16U}) {
    device_.use(request(), length, 2);
    EXPECT_EQ(completed().written_bytes, length);
  }
}

TEST_P(PackedDriverQueueTest, BreaksOnMoreBytesThanWereWritable) {
  device_.use(request(), 17, 2);
  EXPECT_EQ(broken_by_poll(), error(Errc::kBadLength, 17));
}

TEST_P(PackedDriverQueueTest, BreaksOnBytesOfARequestWithNothingToWrite) {
  const Token token = MUST(queue_.submit(std::array{buffer(4096)}, {}, 0));
  EXPECT_TRUE(queue_.publish());
  device_.use(std::to_underlying(token), 1, 1);
  EXPECT_EQ(broken_by_poll(), error(Errc::kBadLength, 1));
}

TEST_P(PackedDriverQueueTest, BreaksOnTheLargestLength) {
  device_.use(request(), ~0U, 2);
  EXPECT_EQ(broken_by_poll(), error(Errc::kBadLength, ~0U));
}

// VIRTIO 1.3, 2.8.4: without WRITE the length is reserved, and no lie; one that could be true is
// believed, for there are devices that leave WRITE out.
TEST_P(PackedDriverQueueTest, ALengthWithoutItsFlagIsWhatItCanBe) {
  for (const auto& [length, written] :
       {std::pair{0U, 0U}, std::pair{16U, 16U}, std::pair{17U, 0U}, std::pair{~0U, 0U}}) {
    negotiate({});
    const std::uint16_t id = request();
    device_.put_descriptor(0, {.address = 0,
                               .length = length,
                               .flags = VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED,
                               .next = id});
    EXPECT_EQ(completed().written_bytes, written);
  }
}

// VIRTIO 1.3, 2.8.6: NEXT is reserved in a used descriptor; so is what else it has.
TEST_P(PackedDriverQueueTest, IgnoresOtherFlagsOfAUsedDescriptor) {
  const std::uint16_t id = request(4);
  device_.put_descriptor(0, {.address = ~0ULL, .length = 3, .flags = 0xffff, .next = id});
  EXPECT_EQ(completed().written_bytes, 3U);
  EXPECT_EQ(queue_.free_slots(), kSlots);
}

TEST_P(PackedDriverQueueTest, TakesEverythingThatIsOutstandingInAnyOrder) {
  const std::array ids{request(0), request(1), request(2)};
  for (const std::size_t i : {2U, 0U, 1U})
    device_.use(ids.at(i), 0, 2);
  for (const std::uint64_t i : {2U, 0U, 1U})
    EXPECT_EQ(completed().cookie, i);
  EXPECT_EQ(queue_.outstanding(), 0U);
}

// HD-6, HD-7, DMB-DR5: the ring means nothing to the driver once written: neither which slots a
// request had, nor where the next used descriptor is.
TEST_P(PackedDriverQueueTest, GoesOnByItsOwnRecordNotByTheRing) {
  for (std::uint64_t round = 0; round < 100; ++round) {
    const std::uint16_t id = request(round);
    const PackedPosition used = device_.next_used();
    for (std::uint32_t i = 0; i < kSlots; ++i) {
      if (i != used.slot())
        device_.put_descriptor(i, {.address = ~0ULL, .length = ~0U, .flags = 0xffff, .next = id});
    }
    device_.use(id, 16, 2);
    ASSERT_EQ(completed().cookie, round);
    ASSERT_EQ(queue_.free_slots(), kSlots);
    const PackedPosition next = device_.next_used();
    device_.put_descriptor(
        next.slot(),
        {.address = 0, .length = 0, .flags = airlock_packed_used_flags(!next.wrap()), .next = 0});
  }
}

// One request may stay while the positions go round, several times.
TEST_P(PackedDriverQueueTest, ALongRequestOutlivesTheLaps) {
  const std::uint16_t slow = request(99);
  for (std::uint32_t i = 0; i < 50'000; ++i) {
    const auto id = std::to_underlying(submit(i));
    static_cast<void>(queue_.publish());
    device_.use(id, 0, 2);
    ASSERT_EQ(completed().cookie, i);
  }
  device_.use(slow, 16, 2);
  EXPECT_EQ(completed().cookie, 99U);
}

}  // namespace
}  // namespace airlock::ring
