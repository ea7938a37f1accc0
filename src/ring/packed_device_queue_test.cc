// SPDX-License-Identifier: Apache-2.0
//
// Goal: whatever a driver writes, a packed device queue hands out only chains that keep every rule,
// or breaks. Method: a raw driver tells each lie, beside its honest twin, in both address modes.
#include "ring/packed_device_queue.h"

#include <gtest/gtest.h>

#include <array>

#include "testing/interleaver.h"
#include "testing/packed_device_fixture.h"

namespace airlock::ring {
namespace {

using spec::VIRTQ_DESC_F_AVAIL;
using spec::VIRTQ_DESC_F_INDIRECT;
using spec::VIRTQ_DESC_F_NEXT;
using spec::VIRTQ_DESC_F_USED;
using spec::VIRTQ_DESC_F_WRITE;
using Used = testing::FakePackedDriver::Used;

using PackedDeviceQueueTest = testing::PackedDeviceFixture;

INSTANTIATE_TEST_SUITE_P(Modes, PackedDeviceQueueTest, testing::address_modes(),
                         testing::mode_name);

// --- create -----------------------------------------------------------------------------------

// VIRTIO 1.3, 2.8.10.1, 2.8.11: descriptor ring on 16 bytes, event suppression structures on 4.
TEST_P(PackedDeviceQueueTest, RefusesMisalignedAreas) {
  const QueueAreas good = driver_.config().areas;
  const auto moved = [](window::DriverAddress address, std::uint64_t by) {
    return window::DriverAddress{std::to_underlying(address) + by};
  };
  QueueAreas areas = good;
  EXPECT_EQ(refused(areas), Errc::kSystem);
  areas.descriptors = moved(good.descriptors, 8);
  EXPECT_EQ(refused(areas), Errc::kNotAligned);
  areas = good;
  areas.driver = moved(good.driver, 2);
  EXPECT_EQ(refused(areas), Errc::kNotAligned);
  areas.driver = moved(good.driver, 4);
  EXPECT_EQ(refused(areas), Errc::kSystem);
  areas = good;
  areas.device = moved(good.device, 2);
  EXPECT_EQ(refused(areas), Errc::kNotAligned);
  areas.device = moved(good.device, 4);
  EXPECT_EQ(refused(areas), Errc::kSystem);
}

// GEN-DR2, DMB-D6, DMB-D8: all three areas lie in the region, whole.
TEST_P(PackedDeviceQueueTest, RefusesAreasOutsideTheRegion) {
  const auto before_end = [&](std::uint64_t bytes) {
    return window::DriverAddress{outside() - bytes};
  };
  QueueAreas areas = driver_.config().areas;
  areas.descriptors = before_end(kSlots * std::uint64_t{16});
  areas.driver = before_end(4);
  areas.device = before_end(4);
  EXPECT_EQ(refused(areas), Errc::kSystem);
  const QueueAreas good = areas;
  areas.descriptors = before_end((kSlots - 1) * std::uint64_t{16});
  EXPECT_EQ(refused(areas), Errc::kAddressOutside);
  areas = good;
  areas.driver = before_end(0);
  EXPECT_EQ(refused(areas), Errc::kAddressOutside);
  areas = good;
  areas.device = before_end(0);
  EXPECT_EQ(refused(areas), Errc::kAddressOutside);
}

// Guest memory may be mapped so that an aligned address leads to misaligned memory: no CHECK may
// depend on it.
TEST(PackedDeviceQueueCreate, RefusesAreasWhoseMemoryIsMisaligned) {
  testing::TestRegion region({.mode = window::AddressMode::kBus});
  const shm::SealedMemfd guest = MUST(shm::SealedMemfd::create({.size = 8192}));
  ASSERT_TRUE(region.window().guest_memory().map(
      {.address = window::BusAddress{0x1002}, .size = 8192}, guest.fd()));
  region.window().configure(window::AddressMode::kBus, window::Reach::kRegionAndGuest);
  testing::FakePackedDriver driver(region, {.slots = 3});
  driver.config().areas.device = window::DriverAddress{0x1100};
  EXPECT_EQ(PackedDeviceQueue::create(driver.config(), region.window()).error().code,
            Errc::kNotAligned);
}

// --- pop: honest drivers ----------------------------------------------------------------------

TEST_P(PackedDeviceQueueTest, AnEmptyRingIsNoError) {
  EXPECT_EQ(MUST(queue_.pop(chain_)), std::nullopt);
  EXPECT_EQ(MUST(queue_.pop(chain_)), std::nullopt);
  EXPECT_FALSE(queue_.broken());
}

TEST_P(PackedDeviceQueueTest, TakesAChainAndReturnsIt) {
  const airlock_descriptor answer = driver_.writable(8);
  driver_.make_available({driver_.readable("head"), answer, driver_.writable(1)}, 0xbeef);
  const Head head = take();
  EXPECT_EQ(chain_.head(), head);
  EXPECT_LT(std::to_underlying(head), kSlots);  // not the driver's id
  EXPECT_EQ(chain_.readable_bytes(), 4U);
  EXPECT_EQ(chain_.writable_bytes(), 9U);
  EXPECT_EQ(queue_.in_flight(), 1U);
  ASSERT_TRUE(chain_.write(0, std::vector<std::byte>(5, std::byte{7})));
  give_back(head, 5);
  EXPECT_EQ(queue_.in_flight(), 0U);
  EXPECT_EQ(driver_.take_used(3), std::nullopt);  // not before it is published
  queue_.publish();
  EXPECT_EQ(driver_.take_used(3), (Used{.id = 0xbeef, .length = 5, .write = true}));
  EXPECT_EQ(driver_.get_bytes(answer.address, 5)[4], std::byte{7});
  EXPECT_EQ(MUST(queue_.pop(chain_)), std::nullopt);
}

// VIRTIO 1.3, 2.8.3: WRITE in a used descriptor says that something was written.
TEST_P(PackedDeviceQueueTest, AUsedDescriptorOfNothingWrittenHasNoWriteFlag) {
  offer(5);
  give_back(take(), 0);
  queue_.publish();
  EXPECT_EQ(driver_.take_used(), (Used{.id = 5, .length = 0, .write = false}));
}

// VIRTIO 1.3, 2.8.1, 2.8.15: AVAIL is the driver's wrap counter, which starts at 1, USED its
// inverse; nothing else is available.
TEST_P(PackedDeviceQueueTest, TakesWhatIsMarkedForThisLapAndNothingElse) {
  for (const std::uint16_t mark :
       {std::uint16_t{0}, VIRTQ_DESC_F_USED,
        static_cast<std::uint16_t>(VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED)}) {
    driver_.put_descriptor(0, descriptor(mark));
    EXPECT_EQ(MUST(queue_.pop(chain_)), std::nullopt) << mark;
  }
  driver_.put_descriptor(0, descriptor(VIRTQ_DESC_F_AVAIL));
  EXPECT_TRUE(MUST(queue_.pop(chain_)).has_value());
}

TEST_P(PackedDeviceQueueTest, TheWrapCounterTurnsWithEachLap) {
  for (std::uint16_t i = 0; i < kSlots; ++i) {
    driver_.put_descriptor(
        i,
        {.address = driver_.address(buffer_), .length = 1, .flags = VIRTQ_DESC_F_AVAIL, .next = i});
    give_back(take());
  }
  queue_.publish();
  driver_.put_descriptor(0, descriptor(VIRTQ_DESC_F_AVAIL));
  EXPECT_EQ(MUST(queue_.pop(chain_)), std::nullopt);
  driver_.put_descriptor(0, descriptor(VIRTQ_DESC_F_USED));
  EXPECT_TRUE(MUST(queue_.pop(chain_)).has_value());
}

// VIRTIO 1.3, 2.8.2, 2.8.12: used in any order, and both positions go round.
TEST_P(PackedDeviceQueueTest, ReturnsInAnyOrderAndWraps) {
  for (std::uint16_t i = 0; i < 10'000; ++i) {
    const auto other = static_cast<std::uint16_t>(i + 40'000);  // any 16 bits are an id
    offer(i, 2);
    offer(other, 3);
    const Head a = take();
    const Head b = take();
    give_back(b, 3);
    give_back(a, 0);
    queue_.publish();
    ASSERT_EQ(driver_.take_used(3), (Used{.id = other, .length = 3, .write = true}));
    ASSERT_EQ(driver_.take_used(2), (Used{.id = i, .length = 0, .write = false}));
    ASSERT_EQ(driver_.take_used(), std::nullopt);
  }
}

// VIRTIO 1.3, 2.8.17: no longer than the queue; here it wraps too.
TEST_P(PackedDeviceQueueTest, TakesAChainAsLongAsTheQueue) {
  offer(1, 3);
  give_back(take());
  queue_.publish();
  EXPECT_TRUE(driver_.take_used(3).has_value());
  offer(2, kSlots);
  give_back(take(), kSlots);
  EXPECT_EQ(chain_.writable().size(), kSlots);
  queue_.publish();
  EXPECT_EQ(driver_.take_used(kSlots), (Used{.id = 2, .length = kSlots, .write = true}));
}

// A chain that changes after it was taken stays what it was.
TEST_P(PackedDeviceQueueTest, AChainInFlightIgnoresTheRing) {
  driver_.make_available({driver_.readable("abcd"), driver_.writable(4)}, 9);
  const Head head = take();
  for (std::uint32_t i = 0; i < kSlots; ++i)
    driver_.put_descriptor(i, {.address = outside(), .length = 99, .flags = 0, .next = 999});
  EXPECT_EQ(MUST(chain_.read<Le32>(0)).get(), 0x64636261U);
  give_back(head, 4);
  queue_.publish();
  EXPECT_EQ(driver_.take_used(2), (Used{.id = 9, .length = 4, .write = true}));
  EXPECT_FALSE(queue_.broken());
}

// HD-11: of all that the driver wrote nothing is read twice, in no chain.
TEST_P(PackedDeviceQueueTest, ReadsNothingTwice) {
  ASSERT_TRUE(shm::kAccessHook);
  negotiate({.indirect = true});
  const std::array entries{driver_.readable("x"), driver_.writable(1)};
  driver_.make_available({driver_.readable("a"), driver_.readable("b"), driver_.writable(1)}, 1);
  driver_.make_available({driver_.table(entries)}, 2);
  testing::DoubleFetchDetector detector(region_.bytes());
  for (const std::uint32_t loads : {4U + 2U + 2U, 4U + 1U}) {
    const auto found = detector.watch([&] { take(); });
    EXPECT_TRUE(found.empty()) << testing::describe(found);
    EXPECT_EQ(detector.loads(), loads);
  }
}

// VIRTIO 1.3, 2.8.17: nothing of a batch before the flags of its first descriptor.
TEST_P(PackedDeviceQueueTest, TakesNothingOfAChainWhoseHeadIsNotAvailable) {
  driver_.hide_available(std::array{descriptor(0), descriptor(VIRTQ_DESC_F_WRITE)}, 3);
  EXPECT_EQ(MUST(queue_.pop(chain_)), std::nullopt);
  driver_.show();
  EXPECT_TRUE(MUST(queue_.pop(chain_)).has_value());
}

// --- pop: liars -------------------------------------------------------------------------------

// VIRTIO 1.3, 2.8.17: there must be room for the whole list.
TEST_P(PackedDeviceQueueTest, TakesAChainOfAllFreeSlots) {
  offer(1, 3);
  take();
  offer(2, kSlots - 3);
  take();
  EXPECT_EQ(queue_.in_flight(), 2U);
}

TEST_P(PackedDeviceQueueTest, BreaksOnAChainOfMoreThanTheFreeSlots) {
  offer(1, 3);
  take();
  offer(2, kSlots - 2);
  EXPECT_EQ(broken_by_pop(),
            (Error{.code = Errc::kChainTooLong, .queue = kQueue, .detail = kSlots - 2}));
}

// What is pushed is the driver's again when it is published.
TEST_P(PackedDeviceQueueTest, BreaksOnASlotThatWasPushedAndNotPublished) {
  offer(1, kSlots);
  give_back(take());
  offer(2);
  EXPECT_EQ(broken_by_pop(), (Error{.code = Errc::kChainTooLong, .queue = kQueue, .detail = 1}));
}

TEST_P(PackedDeviceQueueTest, TakesASlotThatWasPublished) {
  offer(1, kSlots);
  give_back(take());
  queue_.publish();
  offer(2);
  EXPECT_TRUE(MUST(queue_.pop(chain_)).has_value());
}

// VIRTIO 1.3, 2.8.17: a list without an end is a loop round the ring.
TEST_P(PackedDeviceQueueTest, BreaksOnALoop) {
  for (std::uint32_t i = 0; i < kSlots; ++i) {
    driver_.put_descriptor(i, descriptor(VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_AVAIL));
  }
  EXPECT_EQ(code_of_pop(), Errc::kChainTooLong);
}

TEST_P(PackedDeviceQueueTest, BreaksOnAnIdThatIsInFlight) {
  offer(0xffff);
  take();
  offer(0xffff);
  EXPECT_EQ(broken_by_pop(),
            (Error{.code = Errc::kAlreadyInFlight, .queue = kQueue, .detail = 0xffff}));
}

TEST_P(PackedDeviceQueueTest, TakesAnIdAgainOnceReturned) {
  for (int i = 0; i < 20; ++i) {
    offer(0xffff);
    give_back(take());
    queue_.publish();
  }
}

// VIRTIO 1.3, 2.8.6: the id is the last descriptor's. (The fake puts another into the others.)
TEST_P(PackedDeviceQueueTest, TheIdOfAChainIsThatOfItsLastDescriptor) {
  offer(1);
  take();
  driver_.put_descriptor(1, {.address = driver_.address(buffer_),
                             .length = 1,
                             .flags = VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_AVAIL,
                             .next = 1});  // in flight, and not the chain's
  driver_.put_descriptor(
      2,
      {.address = driver_.address(buffer_), .length = 1, .flags = VIRTQ_DESC_F_AVAIL, .next = 2});
  give_back(take());
  queue_.publish();
  EXPECT_EQ(driver_.take_used(2), (Used{.id = 2, .length = 0, .write = false}));
}

// VIRTIO 1.3, 2.8.19: no INDIRECT unless negotiated.
TEST_P(PackedDeviceQueueTest, BreaksOnFlagsThatWereNotNegotiated) {
  const std::uint16_t flags = VIRTQ_DESC_F_INDIRECT | VIRTQ_DESC_F_AVAIL;
  driver_.put_descriptor(0, descriptor(flags));
  EXPECT_EQ(broken_by_pop(), (Error{.code = Errc::kBadFlags,
                                    .queue = kQueue,
                                    .detail = flags,
                                    .address = driver_.address(buffer_)}));
}

TEST_P(PackedDeviceQueueTest, BreaksOnUnknownFlags) {
  driver_.make_available({descriptor(0x0008)}, 0);
  EXPECT_EQ(code_of_pop(), Errc::kBadFlags);
}

// VIRTIO 1.3, 2.8.17: device-readable before device-writable.
TEST_P(PackedDeviceQueueTest, BreaksOnReadableAfterWritable) {
  driver_.make_available({descriptor(0), descriptor(VIRTQ_DESC_F_WRITE), descriptor(0)}, 0);
  EXPECT_EQ(code_of_pop(), Errc::kBadOrder);
}

TEST_P(PackedDeviceQueueTest, BreaksOnAnEmptyBuffer) {
  driver_.make_available({descriptor(0), descriptor(VIRTQ_DESC_F_WRITE, 0)}, 0);
  EXPECT_EQ(code_of_pop(), Errc::kBadLength);
}

// DEF-5, DMB-D7: containment and overflow, before any access.
TEST_P(PackedDeviceQueueTest, TakesABufferUpToTheEndOfTheRegion) {
  driver_.make_available({descriptor(0), raw(outside() - 16, 16)}, 0);
  EXPECT_TRUE(MUST(queue_.pop(chain_)).has_value());
}

TEST_P(PackedDeviceQueueTest, BreaksOnABufferAcrossTheEndOfTheRegion) {
  driver_.make_available({descriptor(0), raw(outside() - 16, 17)}, 0);
  EXPECT_EQ(broken_by_pop(), (Error{.code = Errc::kAddressOutside,
                                    .queue = kQueue,
                                    .detail = 17,
                                    .address = outside() - 16}));
}

TEST_P(PackedDeviceQueueTest, BreaksOnABufferThatWraps) {
  driver_.make_available({raw(~std::uint64_t{0} - 7, 16)}, 0);
  EXPECT_EQ(code_of_pop(), Errc::kAddressOutside);
}

// SYS-2: a BAR that moves makes old bus addresses outside; offsets don't notice.
TEST_P(PackedDeviceQueueTest, NoticesThatTheRegionMoved) {
  offer(0);
  region_.window().set_region_bus_base(window::BusAddress{0x1000});
  if (GetParam() == window::AddressMode::kBus) {
    EXPECT_EQ(code_of_pop(), Errc::kAddressOutside);
  } else {
    EXPECT_TRUE(MUST(queue_.pop(chain_)).has_value());
  }
}

// Memory that a VMM took back and gave again: the ring goes on where it was.
TEST_P(PackedDeviceQueueTest, RebindFindsTheRingAgainAndOnlyThere) {
  offer(1);
  give_back(take());
  queue_.publish();
  region_.window().configure(GetParam(), window::Reach::kNothing);
  EXPECT_EQ(queue_.rebind().error().code, Errc::kAddressOutside);
  region_.window().configure(GetParam(), window::Reach::kRegion);
  ASSERT_TRUE(queue_.rebind());
  offer(2);
  EXPECT_TRUE(MUST(queue_.pop(chain_)).has_value());
  EXPECT_EQ(queue_.rebind().error().code, Errc::kWrongState);
}

// --- indirect tables --------------------------------------------------------------------------

// VIRTIO 1.3, 2.8.7: a table is used whole; of its descriptors' flags only WRITE means anything.
TEST_P(PackedDeviceQueueTest, TakesATableAndIgnoresWhatIsReservedInIt) {
  negotiate({.indirect = true});
  std::array entries{driver_.readable("ab"), driver_.readable("c"), driver_.writable(4)};
  for (airlock_descriptor& entry : entries) {
    entry.flags = static_cast<std::uint16_t>(entry.flags | ~VIRTQ_DESC_F_WRITE);
    entry.next = 0x5555;
  }
  driver_.make_available({driver_.table(entries)}, 7);
  const Head head = take();
  EXPECT_EQ(chain_.readable().size(), 2U);
  EXPECT_EQ(chain_.readable_bytes(), 3U);
  EXPECT_EQ(chain_.writable_bytes(), 4U);
  give_back(head, 4);
  queue_.publish();
  EXPECT_EQ(driver_.take_used(1), (Used{.id = 7, .length = 4, .write = true}));
}

TEST_P(PackedDeviceQueueTest, TakesATableAsLongAsTheQueueAndNoLonger) {
  negotiate({.indirect = true});
  const std::vector<airlock_descriptor> entries(kSlots + 1, descriptor(0));
  driver_.make_available({driver_.table(std::span(entries).first(kSlots))}, 0);
  EXPECT_TRUE(MUST(queue_.pop(chain_)).has_value());
  driver_.make_available({driver_.table(entries)}, 1);
  EXPECT_EQ(code_of_pop(), Errc::kChainTooLong);
}

TEST_P(PackedDeviceQueueTest, BreaksOnATableThatIsNotWhole) {
  negotiate({.indirect = true});
  airlock_descriptor table = driver_.table(std::array{descriptor(0), descriptor(0)});
  table.length -= 1;
  driver_.make_available({table}, 0);
  EXPECT_EQ(code_of_pop(), Errc::kBadLength);
}

TEST_P(PackedDeviceQueueTest, BreaksOnATableOutsideTheRegion) {
  negotiate({.indirect = true});
  driver_.make_available(
      {{.address = outside() - 16, .length = 32, .flags = VIRTQ_DESC_F_INDIRECT, .next = 0}}, 0);
  EXPECT_EQ(code_of_pop(), Errc::kAddressOutside);
}

// VIRTIO 1.3, 2.8.19: no INDIRECT in a list linked by NEXT.
TEST_P(PackedDeviceQueueTest, BreaksOnATableThatGoesOn) {
  negotiate({.indirect = true});
  driver_.make_available({driver_.table(std::array{descriptor(0)}), descriptor(0)}, 0);
  EXPECT_EQ(code_of_pop(), Errc::kBadFlags);
}

// --- after a break ----------------------------------------------------------------------------

TEST_P(PackedDeviceQueueTest, LeavesTheRingAloneOnceBroken) {
  offer(1);
  const Head head = take();
  offer(1);
  EXPECT_EQ(code_of_pop(), Errc::kAlreadyInFlight);
  // I/O that was under way finishes: it is accounted for, and not shown.
  EXPECT_EQ(queue_.push_used(head, 1).error().code, Errc::kQueueBroken);
  EXPECT_EQ(queue_.in_flight(), 0U);
  queue_.publish();
  queue_.suppress_notifications(true);
  EXPECT_FALSE(queue_.driver_wants_interrupt());
  EXPECT_EQ(driver_.take_used(), std::nullopt);
  EXPECT_EQ(driver_.device_event(), PackedEvent{});
  EXPECT_EQ(queue_.rebind().error().code, Errc::kQueueBroken);
}

TEST_P(PackedDeviceQueueTest, ShowsNothingThatWasPushedBeforeTheBreak) {
  offer(1);
  offer(2);
  const std::array heads{take(), take()};
  for (const Head head : heads)
    give_back(head);
  driver_.make_available({descriptor(0x0008)}, 3);
  EXPECT_FALSE(queue_.pop(chain_));
  queue_.publish();
  EXPECT_EQ(driver_.take_used(), std::nullopt);
  EXPECT_FALSE(queue_.driver_wants_interrupt());
}

// --- our own bugs -----------------------------------------------------------------------------

TEST_P(PackedDeviceQueueTest, ReturningWhatIsNotInFlightIsOurBug) {
  EXPECT_DEATH(static_cast<void>(queue_.push_used(Head{0}, 0)), "bug:");
  EXPECT_DEATH(static_cast<void>(queue_.push_used(Head{kSlots}, 0)), "bug:");
}

TEST_P(PackedDeviceQueueTest, ReturningAChainTwiceIsOurBug) {
  offer(1);
  const Head head = take();
  give_back(head);
  EXPECT_DEATH(static_cast<void>(queue_.push_used(head, 0)), "bug:");
}

TEST_P(PackedDeviceQueueTest, ClaimingMoreBytesThanTheChainHasIsOurBug) {
  driver_.make_available({driver_.readable("abc"), driver_.writable(4)}, 0);
  const Head head = take();
  EXPECT_DEATH(static_cast<void>(queue_.push_used(head, 5)), "bug:");
}

}  // namespace
}  // namespace airlock::ring
