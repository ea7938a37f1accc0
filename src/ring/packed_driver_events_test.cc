// SPDX-License-Identifier: Apache-2.0
//
// Goal: a driver's packed queue ends each request exactly once, in order and after a break too, and
// tells and asks to be told when it must. Method: a raw device that completes batches, lies, and
// writes any event.
#include <gtest/gtest.h>

#include <set>

#include "testing/interleaver.h"
#include "testing/packed_driver_fixture.h"

namespace airlock::ring {
namespace {

using spec::RING_EVENT_FLAGS_DESC;
using spec::RING_EVENT_FLAGS_DISABLE;
using spec::RING_EVENT_FLAGS_ENABLE;

using PackedDriverEvents = testing::PackedDriverFixture;

INSTANTIATE_TEST_SUITE_P(Modes, PackedDriverEvents, testing::address_modes(), testing::mode_name);

// --- in order ---------------------------------------------------------------------------------

// HD-32; VIRTIO 1.3, 2.8.8: one used descriptor for all up to its request; the device skips the
// slots of all of them.
TEST_P(PackedDriverEvents, ABatchCompletesEverythingBeforeItsLast) {
  negotiate({.in_order = true});
  for (std::uint64_t round = 0; round < 50; ++round) {
    const std::array tokens{submit(1), submit(2), submit(3)};
    static_cast<void>(queue_.publish());
    device_.use(std::to_underlying(tokens[1]), 5, 4);
    EXPECT_EQ(completed(),
              (Completion{
                  .token = tokens[0], .cookie = 1, .written_bytes = 16, .length_reported = false}));
    EXPECT_EQ(completed(), (Completion{.token = tokens[1], .cookie = 2, .written_bytes = 5}));
    ASSERT_EQ(MUST(queue_.poll()), std::nullopt);
    device_.use(std::to_underlying(tokens[2]), 0, 2);
    EXPECT_EQ(completed(), (Completion{.token = tokens[2], .cookie = 3, .written_bytes = 0}));
    ASSERT_EQ(queue_.free_slots(), kSlots);
  }
}

// HD-32: the batch must be a prefix of what is outstanding, and of what is published.
TEST_P(PackedDriverEvents, BreaksOnABatchThatEndsWithWhatIsNotPublished) {
  negotiate({.in_order = true});
  request(1);
  const auto id = std::to_underlying(submit(2));
  device_.use(id, 0, 4);
  EXPECT_EQ(broken_by_poll(), error(Errc::kNotOutstanding, id));
  EXPECT_EQ(queue_.outstanding(), 2U);
}

TEST_P(PackedDriverEvents, BreaksOnABatchThatEndsWithWhatIsDone) {
  negotiate({.in_order = true});
  const std::uint16_t first = request(1);
  request(2);
  device_.use(first, 0, 2);
  EXPECT_EQ(completed().cookie, 1U);
  device_.use(first, 0, 2);
  EXPECT_EQ(broken_by_poll(), error(Errc::kNotOutstanding, first));
}

// HD-3 holds for the one that has a length.
TEST_P(PackedDriverEvents, BreaksOnABatchWhoseLengthIsTooMuch) {
  negotiate({.in_order = true});
  request(1);
  device_.use(request(2), 17, 4);
  EXPECT_EQ(broken_by_poll(), error(Errc::kBadLength, 17));
  EXPECT_EQ(queue_.outstanding(), 2U);
}

// HD-32: a device that returns them in reverse all the same: the first used descriptor stands for
// all of them, the others are never looked at.
TEST_P(PackedDriverEvents, AReverseOrderCompletesEachRequestOnce) {
  negotiate({.in_order = true});
  const std::array ids{request(1), request(2), request(3)};
  for (const std::size_t i : {2U, 1U, 0U})
    device_.use(ids.at(i), 0, 2);
  for (std::uint64_t cookie = 1; cookie <= 3; ++cookie)
    EXPECT_EQ(completed().cookie, cookie);
  EXPECT_EQ(MUST(queue_.poll()), std::nullopt);
  EXPECT_EQ(queue_.outstanding(), 0U);
}

// Without the feature an id stands for itself.
TEST_P(PackedDriverEvents, WithoutInOrderTheOthersStayOutstanding) {
  request(1);
  device_.use(request(2), 0, 2);
  EXPECT_EQ(completed().cookie, 2U);
  EXPECT_EQ(MUST(queue_.poll()), std::nullopt);
  EXPECT_EQ(queue_.outstanding(), 1U);
}

// HD-23: what a batch returned and poll() did not hand out is handed out by take_outstanding().
TEST_P(PackedDriverEvents, AQueueAbandonedWithinABatchLosesNothing) {
  negotiate({.in_order = true});
  request(1);
  request(2);
  device_.use(request(3), 0, 6);
  EXPECT_EQ(completed().cookie, 1U);
  queue_.abandon();
  std::set<std::uint64_t> cookies;
  while (const auto one = queue_.take_outstanding())
    EXPECT_TRUE(cookies.insert(one->cookie).second);
  EXPECT_EQ(cookies, (std::set<std::uint64_t>{2, 3}));
  EXPECT_EQ(queue_.free_slots(), kSlots);
}

// --- after a break ----------------------------------------------------------------------------

// HD-23: every outstanding request ends once, whether or not it was published.
TEST_P(PackedDriverEvents, HandsOutEachOutstandingRequestOnceAfterABreak) {
  request(10);
  const std::uint16_t id = request(11);
  device_.use(id, 0, 2);
  device_.use(0xffff, 0, 2);
  static_cast<void>(submit(12));
  EXPECT_EQ(completed().cookie, 11U);
  EXPECT_EQ(broken_by_poll().code, Errc::kBadIndex);
  std::multiset<std::uint64_t> cookies;
  while (const auto one = queue_.take_outstanding())
    cookies.insert(one->cookie);
  EXPECT_EQ(cookies, (std::multiset<std::uint64_t>{10, 12}));
  EXPECT_EQ(queue_.outstanding(), 0U);
  EXPECT_EQ(queue_.take_outstanding(), std::nullopt);
}

// HD-18, HD-23: after a reset nothing that the device wrote counts.
TEST_P(PackedDriverEvents, AnAbandonedQueueCompletesNothing) {
  device_.use(request(6), 0, 2);
  queue_.abandon();
  EXPECT_EQ(queue_.broken(), error(Errc::kQueueBroken, 0));
  EXPECT_EQ(queue_.poll().error().code, Errc::kQueueBroken);
  EXPECT_EQ(taken().cookie, 6U);
  EXPECT_EQ(queue_.take_outstanding(), std::nullopt);
}

// What was never published never shows.
TEST_P(PackedDriverEvents, AnAbandonedQueuePublishesNothing) {
  submit();
  queue_.abandon();
  EXPECT_FALSE(queue_.publish());
  EXPECT_FALSE(device_.is_available(0, true));
}

TEST_P(PackedDriverEvents, TheFirstViolationIsTheOneThatIsReported) {
  request();
  device_.use(kSlots, 0, 2);
  const Error first = broken_by_poll();
  queue_.abandon();
  EXPECT_EQ(queue_.broken(), first);
}

TEST_P(PackedDriverEvents, TakingRequestsFromALiveQueueIsOurBug) {
  request();
  EXPECT_DEATH(static_cast<void>(queue_.take_outstanding()), "bug:");
}

// --- notifications and interrupts -------------------------------------------------------------

// VIRTIO 1.3, 2.8.10: no notification while the device's events are disabled. HD-21: any value is
// legal.
TEST_P(PackedDriverEvents, NotifiesUnlessTheDeviceAskedNotTo) {
  const auto round = [&](const PackedEvent& event) {
    device_.set_device_event(event);
    const Token token = submit();
    const bool notify = queue_.publish();
    device_.use(std::to_underlying(token), 0, 2);
    completed();
    return notify;
  };
  EXPECT_FALSE(queue_.publish());  // nothing new
  EXPECT_TRUE(round({.flags = RING_EVENT_FLAGS_ENABLE}));
  EXPECT_FALSE(queue_.publish());
  EXPECT_FALSE(round({.flags = RING_EVENT_FLAGS_DISABLE}));
  EXPECT_FALSE(round({.off_wrap = 0xffff, .flags = 0xfffd}));  // DISABLE, and reserved bits
  EXPECT_TRUE(round({.off_wrap = 0xffff, .flags = 3}));        // reserved
  EXPECT_TRUE(round({.flags = RING_EVENT_FLAGS_DESC}));        // not negotiated
  EXPECT_FALSE(queue_.broken());
}

// VIRTIO 1.3, 2.8.10: with RING_EVENT_FLAGS_DESC the slot and its lap decide.
TEST_P(PackedDriverEvents, NotifiesWhenTheSlotIsMadeAvailableThatTheDeviceNamed) {
  negotiate({.event_idx = true});
  PackedPosition position;
  for (std::uint32_t i = 0; i < 30; ++i) {
    PackedPosition event = position;
    event.advance(i % 4, size_);  // each slot of the batch, and the one behind it
    if (i % 5 == 4) {             // the one before it
      event = position;
      event.advance(kSlots - 1, size_);
    }
    const bool other_lap = i % 5 == 4;
    device_.set_device_event(
        {.off_wrap = static_cast<std::uint16_t>(event.off_wrap() ^ (other_lap ? 0x8000U : 0U)),
         .flags = RING_EVENT_FLAGS_DESC});
    const Token one = MUST(queue_.submit(std::array{buffer(1)}, {}, 0));
    const Token two = submit();
    EXPECT_EQ(queue_.publish(), !other_lap && i % 4 < 3) << i;
    device_.use(std::to_underlying(one), 0, 1);
    device_.use(std::to_underlying(two), 0, 2);
    completed();
    completed();
    position.advance(3, size_);
  }
}

// VIRTIO 1.3, 2.9, 4.1.5.2: the next slot that is not available yet, and its wrap counter.
TEST_P(PackedDriverEvents, NotificationDataNamesTheNextSlotAndItsLap) {
  EXPECT_EQ(queue_.notification_data(), kQueue | 0x8000'0000U);
  for (std::uint32_t slot = 2; slot < 40; slot += 2) {
    device_.use(request(), 0, 2);
    completed();
    const std::uint32_t wrap = slot / kSlots % 2 == 0 ? 0x8000'0000U : 0U;
    EXPECT_EQ(queue_.notification_data(), kQueue | (slot % kSlots) << 16 | wrap);
  }
}

// VIRTIO 1.3, 2.8.10.
TEST_P(PackedDriverEvents, SuppressesInterruptsByItsEvent) {
  queue_.want_interrupts(false);
  EXPECT_EQ(device_.driver_event(), (PackedEvent{.flags = RING_EVENT_FLAGS_DISABLE}));
  queue_.want_interrupts(true);
  EXPECT_EQ(device_.driver_event(), (PackedEvent{.flags = RING_EVENT_FLAGS_ENABLE}));
}

// The event names the used descriptor that we would take next: at once, and again each time that a
// poll() finds nothing, or the next wakeup is lost.
TEST_P(PackedDriverEvents, AsksForAnInterruptAtTheVeryNextUsedDescriptor) {
  negotiate({.event_idx = true});
  PackedPosition position;
  const auto event = [&] {
    return PackedEvent{.off_wrap = position.off_wrap(), .flags = RING_EVENT_FLAGS_DESC};
  };
  queue_.want_interrupts(true);
  for (std::uint32_t i = 0; i < 2 * kSlots; ++i) {
    EXPECT_EQ(device_.driver_event(), event());
    device_.use(request(), 0, 2);
    completed();
    EXPECT_EQ(device_.driver_event(), event());
    EXPECT_EQ(MUST(queue_.poll()), std::nullopt);
    position.advance(2, size_);
  }
  queue_.want_interrupts(false);
  EXPECT_EQ(MUST(queue_.poll()), std::nullopt);
  EXPECT_EQ(device_.driver_event(), (PackedEvent{.flags = RING_EVENT_FLAGS_DISABLE}));
}

// The device uses a descriptor just before any access of the poll() that moves the event: it is
// taken, or the event asks for it.
TEST_P(PackedDriverEvents, NeverMissesACompletionWhileItMovesTheEvent) {
  ASSERT_TRUE(shm::kAccessHook);
  for (std::uint32_t number = 1;; ++number) {
    negotiate({.event_idx = true});
    queue_.want_interrupts(true);
    device_.use(request(1), 0, 2);
    completed();
    const auto id = std::to_underlying(submit(2));
    static_cast<void>(queue_.publish());
    bool interrupted = false;
    testing::Strike strike(region_.bytes(), number, [&] {
      device_.use(id, 0, 2);
      interrupted = packed_wants_event(device_.driver_event(), true, device_.next_used(), 2, size_);
    });
    std::optional<Completion> done;
    strike.during([&] { done = MUST(queue_.poll()); });
    if (!strike.happened()) break;
    EXPECT_TRUE(done.has_value() || interrupted) << "before access " << number;
    ASSERT_LT(number, 100U);
  }
}

}  // namespace
}  // namespace airlock::ring
