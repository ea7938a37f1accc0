// SPDX-License-Identifier: Apache-2.0
//
// Goal: whatever a driver writes, a device queue hands out only chains that keep every rule, or
// breaks. Method: a raw driver tells each lie, beside its honest twin, in both address modes.
#include "ring/split_device_queue.h"

#include "spec/virtio_ring.h"
#include "testing/split_device_fixture.h"

namespace airlock::ring {
namespace {

using spec::VIRTQ_DESC_F_INDIRECT;
using spec::VIRTQ_DESC_F_NEXT;
using testing::ChainBuilder;

class SplitDeviceQueueTest : public testing::SplitDeviceFixture {
 protected:
  Errc refused(const QueueAreas& areas) {
    QueueConfig config = driver_.config();
    config.areas = areas;
    const auto made = SplitDeviceQueue::create(config, region_.window());
    if (made) return Errc::kSystem;
    EXPECT_EQ(made.error().queue, kQueue);
    return made.error().code;
  }
};

INSTANTIATE_TEST_SUITE_P(Modes, SplitDeviceQueueTest, testing::address_modes(), testing::mode_name);

// --- create -----------------------------------------------------------------------------------

// VIRTIO 1.3, 2.7: descriptor table on 16 bytes, available ring on 2, used ring on 4.
TEST_P(SplitDeviceQueueTest, RefusesMisalignedAreas) {
  const QueueAreas good = driver_.config().areas;
  const auto moved = [](window::DriverAddress address, std::uint64_t by) {
    return window::DriverAddress{std::to_underlying(address) + by};
  };
  QueueAreas areas = good;
  EXPECT_EQ(refused(areas), Errc::kSystem);
  areas.descriptors = moved(good.descriptors, 8);
  EXPECT_EQ(refused(areas), Errc::kNotAligned);
  areas = good;
  areas.driver = moved(good.driver, 1);
  EXPECT_EQ(refused(areas), Errc::kNotAligned);
  areas.driver = moved(good.driver, 2);
  EXPECT_EQ(refused(areas), Errc::kSystem);
  areas = good;
  areas.device = moved(good.device, 2);
  EXPECT_EQ(refused(areas), Errc::kNotAligned);
  areas.device = moved(good.device, 4);
  EXPECT_EQ(refused(areas), Errc::kSystem);
}

// GEN-DR2, DMB-D6, DMB-D8: all three areas lie in the region, whole.
TEST_P(SplitDeviceQueueTest, RefusesAreasOutsideTheRegion) {
  const Layout layout(driver_.size());
  const auto at_end = [&](std::uint64_t bytes) {
    return window::DriverAddress{outside() - ((bytes + 15) & ~std::uint64_t{15})};
  };
  const auto beyond = [&](std::uint64_t bytes) {
    return window::DriverAddress{std::to_underlying(at_end(bytes)) + 16};
  };
  QueueAreas areas = driver_.config().areas;
  areas.descriptors = at_end(layout.descriptors().bytes);
  areas.driver = at_end(layout.driver().bytes);
  areas.device = at_end(layout.device().bytes);
  EXPECT_EQ(refused(areas), Errc::kSystem);
  const QueueAreas good = areas;
  areas.descriptors = beyond(layout.descriptors().bytes);
  EXPECT_EQ(refused(areas), Errc::kAddressOutside);
  areas = good;
  areas.driver = beyond(layout.driver().bytes);
  EXPECT_EQ(refused(areas), Errc::kAddressOutside);
  areas = good;
  areas.device = beyond(layout.device().bytes);
  EXPECT_EQ(refused(areas), Errc::kAddressOutside);
  areas = good;
  areas.device = window::DriverAddress{0};
  EXPECT_EQ(refused(areas), Errc::kAddressOutside);
}

// Guest memory may be mapped so that an aligned address leads to misaligned memory: no CHECK may
// depend on it.
TEST(SplitDeviceQueueCreate, RefusesAreasWhoseMemoryIsMisaligned) {
  testing::TestRegion region({.mode = window::AddressMode::kBus});
  const shm::SealedMemfd guest = MUST(shm::SealedMemfd::create({.size = 8192}));
  ASSERT_TRUE(region.window().guest_memory().map(
      {.address = window::BusAddress{0x1001}, .size = 8192}, guest.fd()));
  region.window().configure(window::AddressMode::kBus, window::Reach::kRegionAndGuest);
  testing::FakeDriver driver(region, 4);
  driver.config().areas.device = window::DriverAddress{0x1100};
  EXPECT_EQ(SplitDeviceQueue::create(driver.config(), region.window()).error().code,
            Errc::kNotAligned);
}

// --- pop: honest drivers ----------------------------------------------------------------------

TEST_P(SplitDeviceQueueTest, AnEmptyRingIsNoError) {
  EXPECT_EQ(MUST(queue_.pop(chain_)), std::nullopt);
  EXPECT_EQ(MUST(queue_.pop(chain_)), std::nullopt);
  EXPECT_FALSE(queue_.broken());
}

// VIRTIO 1.3, 2.7.8.2: the element is whole, and the bytes are written, before the index says so.
TEST_P(SplitDeviceQueueTest, TakesAChainAndReturnsIt) {
  const auto built = ChainBuilder(driver_).readable("head").writable(8).writable(1).submit();
  EXPECT_EQ(MUST(queue_.pop(chain_)), Head{built.head()});
  EXPECT_EQ(chain_.head(), Head{built.head()});
  EXPECT_EQ(chain_.readable_bytes(), 4U);
  EXPECT_EQ(chain_.writable_bytes(), 9U);
  EXPECT_EQ(queue_.in_flight(), 1U);
  ASSERT_TRUE(chain_.write(0, std::vector<std::byte>(5, std::byte{7})));
  ASSERT_TRUE(queue_.push_used(chain_.head(), 5));
  EXPECT_EQ(queue_.in_flight(), 0U);
  EXPECT_EQ(driver_.used_index(), 0);  // not before it is published
  queue_.publish();
  EXPECT_EQ(driver_.take_used(), (UsedElement{.id = built.head(), .length = 5}));
  EXPECT_EQ(built.written()[4], std::byte{7});
  EXPECT_EQ(MUST(queue_.pop(chain_)), std::nullopt);
}

// VIRTIO 1.3, 2.7.8: any order, and the indices wrap at 2^16.
TEST_P(SplitDeviceQueueTest, ReturnsInAnyOrderAndWraps) {
  Chain second;
  for (std::uint32_t i = 0; i < 40000; ++i) {
    const std::uint64_t mark = region_.mark();
    const auto a = ChainBuilder(driver_).readable("a").submit();
    const auto b = ChainBuilder(driver_).readable("b").writable(1).submit();
    region_.free_to(mark);
    ASSERT_EQ(MUST(queue_.pop(chain_)), Head{a.head()});
    ASSERT_EQ(MUST(queue_.pop(second)), Head{b.head()});
    ASSERT_TRUE(queue_.push_used(second.head(), 1));
    ASSERT_TRUE(queue_.push_used(chain_.head(), 0));
    queue_.publish();
    ASSERT_EQ(driver_.take_used(), (UsedElement{.id = b.head(), .length = 1}));
    ASSERT_EQ(driver_.take_used(), (UsedElement{.id = a.head(), .length = 0}));
  }
}

TEST_P(SplitDeviceQueueTest, TakesAChainAsLongAsTheQueue) {
  ChainBuilder builder(driver_);
  for (std::uint32_t i = 0; i < kSlots; ++i)
    builder.readable("x");
  builder.submit();
  ASSERT_TRUE(MUST(queue_.pop(chain_)).has_value());
  EXPECT_EQ(chain_.readable().size(), kSlots);
}

// A chain that changes after it was taken stays what it was: nothing is read twice.
TEST_P(SplitDeviceQueueTest, AChainInFlightIgnoresTheRing) {
  const auto built = ChainBuilder(driver_).readable("abcd").writable(4).submit();
  ASSERT_TRUE(MUST(queue_.pop(chain_)).has_value());
  for (std::uint32_t i = 0; i < kSlots; ++i) {
    driver_.put_descriptor(i, {.address = outside(), .length = 99, .flags = 0xffff, .next = 999});
  }
  EXPECT_EQ(MUST(chain_.read<spec::VirtqAvailHeader>(0)).flags.get(), 'a' | 'b' << 8);
  ASSERT_TRUE(queue_.push_used(chain_.head(), 4));
  queue_.publish();
  EXPECT_EQ(driver_.take_used(), (UsedElement{.id = built.head(), .length = 4}));
  EXPECT_FALSE(queue_.broken());
}

// --- pop: liars -------------------------------------------------------------------------------

// VIRTIO 1.3, 2.7.6: avail.idx is ahead by the queue size at most.
TEST_P(SplitDeviceQueueTest, TakesAnIndexJumpOfTheQueueSize) {
  for (std::uint16_t i = 0; i < kSlots; ++i) {
    driver_.put_descriptor(i, descriptor(0));
    driver_.put_available(i, i);
  }
  driver_.set_avail_index(kSlots);
  for (std::uint16_t i = 0; i < kSlots; ++i) {
    EXPECT_EQ(MUST(queue_.pop(chain_)), Head{i});
  }
  EXPECT_EQ(MUST(queue_.pop(chain_)), std::nullopt);
}

TEST_P(SplitDeviceQueueTest, BreaksOnAnIndexJumpBeyondTheQueueSize) {
  driver_.set_avail_index(kSlots + 1);
  EXPECT_EQ(broken_by_pop(),
            (Error{.code = Errc::kBadIndexJump, .queue = kQueue, .detail = kSlots + 1}));
}

TEST_P(SplitDeviceQueueTest, BreaksOnAnIndexThatGoesBack) {
  ChainBuilder(driver_).readable("x").submit();
  ASSERT_TRUE(MUST(queue_.pop(chain_)).has_value());
  driver_.set_avail_index(0);
  EXPECT_EQ(code_of_pop(), Errc::kBadIndexJump);
}

// VIRTIO 1.3, 2.7.6: an entry is the index of a descriptor.
TEST_P(SplitDeviceQueueTest, BreaksOnAHeadOutsideTheTable) {
  driver_.make_available(kSlots);
  EXPECT_EQ(broken_by_pop(), (Error{.code = Errc::kBadIndex, .queue = kQueue, .detail = kSlots}));
}

TEST_P(SplitDeviceQueueTest, TakesTheLastHeadOfTheTable) {
  driver_.put_descriptor(kSlots - 1, descriptor(0));
  driver_.make_available(kSlots - 1);
  EXPECT_EQ(MUST(queue_.pop(chain_)), Head{kSlots - 1});
}

TEST_P(SplitDeviceQueueTest, BreaksOnAHeadThatIsInFlight) {
  driver_.put_descriptor(2, descriptor(0));
  driver_.make_available(2);
  ASSERT_TRUE(MUST(queue_.pop(chain_)).has_value());
  driver_.make_available(2);
  EXPECT_EQ(broken_by_pop(), (Error{.code = Errc::kAlreadyInFlight, .queue = kQueue, .detail = 2}));
}

TEST_P(SplitDeviceQueueTest, TakesAHeadAgainOnceReturned) {
  driver_.put_descriptor(2, descriptor(0));
  for (int i = 0; i < 3; ++i) {
    driver_.make_available(2);
    ASSERT_EQ(MUST(queue_.pop(chain_)), Head{2});
    ASSERT_TRUE(queue_.push_used(Head{2}, 0));
  }
}

TEST_P(SplitDeviceQueueTest, BreaksOnANextOutsideTheTable) {
  driver_.put_descriptor(0, descriptor(VIRTQ_DESC_F_NEXT, kSlots));
  driver_.make_available(0);
  EXPECT_EQ(broken_by_pop(), (Error{.code = Errc::kBadIndex,
                                    .queue = kQueue,
                                    .detail = kSlots,
                                    .address = driver_.address(buffer_)}));
}

// VIRTIO 1.3, 2.7.5: next means nothing without NEXT.
TEST_P(SplitDeviceQueueTest, IgnoresNextWithoutItsFlag) {
  driver_.put_descriptor(0, descriptor(0, 0xffff));
  driver_.make_available(0);
  EXPECT_TRUE(MUST(queue_.pop(chain_)).has_value());
}

// VIRTIO 1.3, 2.7.5.2: a driver makes no loop; a chain is no longer than the queue.
TEST_P(SplitDeviceQueueTest, BreaksOnALoop) {
  driver_.put_descriptor(0, descriptor(VIRTQ_DESC_F_NEXT, 1));
  driver_.put_descriptor(1, descriptor(VIRTQ_DESC_F_NEXT, 0));
  driver_.make_available(0);
  EXPECT_EQ(code_of_pop(), Errc::kChainTooLong);
}

TEST_P(SplitDeviceQueueTest, BreaksOnADescriptorThatIsItsOwnNext) {
  driver_.put_descriptor(5, descriptor(VIRTQ_DESC_F_NEXT, 5));
  driver_.make_available(5);
  EXPECT_EQ(code_of_pop(), Errc::kChainTooLong);
}

// VIRTIO 1.3, 2.7.5.3.1: no INDIRECT unless negotiated.
TEST_P(SplitDeviceQueueTest, BreaksOnFlagsThatWereNotNegotiated) {
  driver_.put_descriptor(0, descriptor(VIRTQ_DESC_F_INDIRECT));
  driver_.make_available(0);
  EXPECT_EQ(broken_by_pop(), (Error{.code = Errc::kBadFlags,
                                    .queue = kQueue,
                                    .detail = VIRTQ_DESC_F_INDIRECT,
                                    .address = driver_.address(buffer_)}));
}

TEST_P(SplitDeviceQueueTest, BreaksOnUnknownFlags) {
  driver_.put_descriptor(0, descriptor(0x8000));
  driver_.make_available(0);
  EXPECT_EQ(code_of_pop(), Errc::kBadFlags);
}

// VIRTIO 1.3, 2.7.4.2: device-readable before device-writable.
TEST_P(SplitDeviceQueueTest, BreaksOnReadableAfterWritable) {
  ChainBuilder(driver_).readable("a").writable(1).readable("b").submit();
  EXPECT_EQ(code_of_pop(), Errc::kBadOrder);
}

TEST_P(SplitDeviceQueueTest, BreaksOnAnEmptyBuffer) {
  ChainBuilder(driver_).readable("a").raw(driver_.address(buffer_), 0, true).submit();
  EXPECT_EQ(code_of_pop(), Errc::kBadLength);
}

// DEF-5, DMB-D7: containment and overflow, before any access. Also with readable bytes before it.
TEST_P(SplitDeviceQueueTest, TakesABufferUpToTheEndOfTheRegion) {
  ChainBuilder(driver_).readable("a").raw(outside() - 16, 16, true).submit();
  EXPECT_TRUE(MUST(queue_.pop(chain_)).has_value());
}

TEST_P(SplitDeviceQueueTest, BreaksOnABufferAcrossTheEndOfTheRegion) {
  ChainBuilder(driver_).readable("a").raw(outside() - 16, 17, true).submit();
  EXPECT_EQ(broken_by_pop(), (Error{.code = Errc::kAddressOutside,
                                    .queue = kQueue,
                                    .detail = 17,
                                    .address = outside() - 16}));
}

TEST_P(SplitDeviceQueueTest, BreaksOnABufferThatWraps) {
  ChainBuilder(driver_).raw(~std::uint64_t{0} - 7, 16, false).submit();
  EXPECT_EQ(code_of_pop(), Errc::kAddressOutside);
}

TEST_P(SplitDeviceQueueTest, BreaksOnABufferInGuestMemory) {
  ChainBuilder(driver_).raw(0x7fff'0000'0000, 16, false).submit();
  EXPECT_EQ(code_of_pop(), Errc::kAddressOutside);
}

// SYS-2: a BAR that moves makes old bus addresses outside; offsets don't notice.
TEST_P(SplitDeviceQueueTest, NoticesThatTheRegionMoved) {
  ChainBuilder(driver_).readable("a").submit();
  region_.window().set_region_bus_base(window::BusAddress{0x1000});
  if (GetParam() == window::AddressMode::kBus) {
    EXPECT_EQ(code_of_pop(), Errc::kAddressOutside);
  } else {
    EXPECT_TRUE(MUST(queue_.pop(chain_)).has_value());
  }
}

// Memory that a VMM took back and gave again: the ring goes on where it was.
TEST_P(SplitDeviceQueueTest, RebindFindsTheRingAgainAndOnlyThere) {
  region_.window().configure(GetParam(), window::Reach::kNothing);
  EXPECT_EQ(queue_.rebind().error().code, Errc::kAddressOutside);
  region_.window().configure(GetParam(), window::Reach::kRegion);
  ASSERT_TRUE(queue_.rebind());
  ChainBuilder(driver_).readable("x").submit();
  EXPECT_TRUE(MUST(queue_.pop(chain_)).has_value());
}

// VIRTIO 1.3, 2.7.5.2: a chain has no more than 2^32 bytes; the sum of the lengths must not wrap.
TEST(SplitDeviceQueueBytes, BreaksOnAChainOf4GiB) {
  constexpr std::uint32_t kMiB = 1 << 20;
  for (const std::uint32_t count : {4095U, 4096U}) {
    testing::TestRegion region({.size = std::uint64_t{4} * kMiB});
    testing::FakeDriver driver(region, 8192);
    const std::uint64_t buffer = driver.address(region.allocate(kMiB));
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint16_t flags = i + 1 == count ? std::uint16_t{0} : VIRTQ_DESC_F_NEXT;
      driver.put_descriptor(i, {.address = buffer,
                                .length = kMiB,
                                .flags = flags,
                                .next = static_cast<std::uint16_t>(i + 1)});
    }
    driver.make_available(0);
    auto queue = MUST(SplitDeviceQueue::create(driver.config(), region.window()));
    Chain chain;
    const auto popped = queue.pop(chain);
    if (count == 4095) {
      ASSERT_TRUE(popped);
      EXPECT_EQ(chain.readable_bytes(), 4095U * kMiB);
    } else {
      EXPECT_EQ(popped.error().code, Errc::kChainTooBig);
    }
  }
}

// --- after a break ----------------------------------------------------------------------------

TEST_P(SplitDeviceQueueTest, LeavesTheRingAloneOnceBroken) {
  ChainBuilder(driver_).writable(4).submit();
  ASSERT_TRUE(MUST(queue_.pop(chain_)).has_value());
  const Head head = chain_.head();
  driver_.make_available(0xffff);
  Chain other;
  EXPECT_FALSE(queue_.pop(other));
  // I/O that was under way finishes: it is accounted for, and not shown.
  EXPECT_EQ(queue_.push_used(head, 4).error().code, Errc::kQueueBroken);
  EXPECT_EQ(queue_.in_flight(), 0U);
  queue_.publish();
  queue_.suppress_notifications(true);
  EXPECT_FALSE(queue_.driver_wants_interrupt());
  EXPECT_EQ(driver_.used_index(), 0);
  EXPECT_EQ(driver_.used_flags(), 0);
}

TEST_P(SplitDeviceQueueTest, ShowsNothingThatWasPushedBeforeTheBreak) {
  ChainBuilder(driver_).writable(4).submit();
  ASSERT_TRUE(MUST(queue_.pop(chain_)).has_value());
  ASSERT_TRUE(queue_.push_used(chain_.head(), 4));
  driver_.make_available(0xffff);
  EXPECT_FALSE(queue_.pop(chain_));
  queue_.publish();
  EXPECT_EQ(driver_.used_index(), 0);
  EXPECT_FALSE(queue_.driver_wants_interrupt());
}

// --- our own bugs -----------------------------------------------------------------------------

TEST_P(SplitDeviceQueueTest, ReturningWhatIsNotInFlightIsOurBug) {
  EXPECT_DEATH(static_cast<void>(queue_.push_used(Head{0}, 0)), "bug:");
  EXPECT_DEATH(static_cast<void>(queue_.push_used(Head{kSlots}, 0)), "bug:");
}

TEST_P(SplitDeviceQueueTest, ClaimingMoreBytesThanTheChainHasIsOurBug) {
  ChainBuilder(driver_).readable("abc").writable(4).submit();
  ASSERT_TRUE(MUST(queue_.pop(chain_)).has_value());
  EXPECT_DEATH(static_cast<void>(queue_.push_used(chain_.head(), 5)), "bug:");
}

// --- notifications and interrupts -------------------------------------------------------------

// VIRTIO 1.3, 2.7.7.2: no interrupt while NO_INTERRUPT is set.
TEST_P(SplitDeviceQueueTest, InterruptsUnlessTheDriverAskedNotTo) {
  const auto round = [&] {
    ChainBuilder(driver_).writable(1).submit();
    CHECK(MUST(queue_.pop(chain_)).has_value());
    MUST(queue_.push_used(chain_.head(), 1));
    queue_.publish();
    return queue_.driver_wants_interrupt();
  };
  EXPECT_FALSE(queue_.driver_wants_interrupt());  // nothing to say
  EXPECT_TRUE(round());
  EXPECT_FALSE(queue_.driver_wants_interrupt());  // said already
  driver_.set_avail_flags(spec::VIRTQ_AVAIL_F_NO_INTERRUPT);
  EXPECT_FALSE(round());
  driver_.set_avail_flags(0);
  EXPECT_FALSE(queue_.driver_wants_interrupt());
  EXPECT_TRUE(round());
}

// VIRTIO 1.3, 2.7.10.
TEST_P(SplitDeviceQueueTest, SuppressesNotificationsByFlag) {
  queue_.suppress_notifications(true);
  EXPECT_EQ(driver_.used_flags(), spec::VIRTQ_USED_F_NO_NOTIFY);
  queue_.suppress_notifications(false);
  EXPECT_EQ(driver_.used_flags(), 0);
}

}  // namespace
}  // namespace airlock::ring
