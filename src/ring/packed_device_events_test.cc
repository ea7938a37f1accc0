// SPDX-License-Identifier: Apache-2.0
//
// Goal: a packed device queue shows a driver what it used, all of a batch or nothing, in order
// where that was agreed on, and tells and asks to be told when it must. Method: a raw driver that
// looks between any two accesses, and one that writes any event.
#include <gtest/gtest.h>

#include <array>

#include "testing/interleaver.h"
#include "testing/packed_device_fixture.h"

namespace airlock::ring {
namespace {

using spec::RING_EVENT_FLAGS_DESC;
using spec::RING_EVENT_FLAGS_DISABLE;
using spec::RING_EVENT_FLAGS_ENABLE;
using Used = testing::FakePackedDriver::Used;

using PackedDeviceEvents = testing::PackedDeviceFixture;

INSTANTIATE_TEST_SUITE_P(Modes, PackedDeviceEvents, testing::address_modes(), testing::mode_name);

// --- publish ----------------------------------------------------------------------------------

// VIRTIO 1.3, 2.8.2: a driver that looks at one descriptor after the other sees all of a batch or
// nothing, whenever it looks.
TEST_P(PackedDeviceEvents, ABatchShowsAtOnce) {
  ASSERT_TRUE(shm::kAccessHook);
  for (std::uint32_t number = 1;; ++number) {
    negotiate({});
    for (std::uint16_t i = 0; i < 3; ++i)
      offer(i, 2);
    const std::array heads{take(), take(), take()};
    std::uint32_t seen = 0;
    testing::Strike strike(region_.bytes(), number, [&] {
      while (driver_.take_used(2))
        ++seen;
    });
    strike.during([&] {
      for (const Head head : heads)
        give_back(head);
      queue_.publish();
    });
    EXPECT_TRUE(seen == 0 || seen == 3) << "before access " << number << ": " << seen;
    if (!strike.happened()) break;
    ASSERT_LT(number, 100U);
  }
  for (std::uint16_t i = 0; i < 3; ++i)
    EXPECT_EQ(driver_.take_used(2), (Used{.id = i, .length = 0, .write = false}));
}

// --- in order ---------------------------------------------------------------------------------

// VIRTIO 1.3, 2.8.8: whatever the order of push_used(), used as taken.
TEST_P(PackedDeviceEvents, InOrderHoldsBackWhatIsPushedTooEarly) {
  negotiate({.in_order = true});
  for (std::uint16_t round = 0; round < 50; ++round) {
    for (std::uint16_t i = 0; i < 3; ++i)
      offer(i, 2);
    const std::array heads{take(), take(), take()};
    give_back(heads[2], 2);
    EXPECT_EQ(queue_.in_flight(), 2U);
    give_back(heads[1], 1);
    queue_.publish();
    ASSERT_EQ(driver_.take_used(2), std::nullopt);
    EXPECT_FALSE(queue_.driver_wants_interrupt());
    give_back(heads[0], 0);
    queue_.publish();
    EXPECT_TRUE(queue_.driver_wants_interrupt());
    for (std::uint16_t i = 0; i < 3; ++i)
      ASSERT_EQ(driver_.take_used(2), (Used{.id = i, .length = i, .write = i != 0}));
    ASSERT_EQ(queue_.in_flight(), 0U);
  }
}

TEST_P(PackedDeviceEvents, InOrderAnIdThatIsHeldBackIsNotTheDrivers) {
  negotiate({.in_order = true});
  offer(1);
  offer(2);
  take();
  give_back(take());
  offer(2);
  EXPECT_EQ(code_of_pop(), Errc::kAlreadyInFlight);
}

TEST_P(PackedDeviceEvents, WithoutInOrderNothingIsHeldBack) {
  offer(1);
  offer(2);
  take();
  give_back(take());
  queue_.publish();
  EXPECT_EQ(driver_.take_used(), (Used{.id = 2, .length = 0, .write = false}));
}

// --- notifications and interrupts -------------------------------------------------------------

// VIRTIO 1.3, 2.8.10: no interrupt while the driver's events are disabled.
TEST_P(PackedDeviceEvents, InterruptsUnlessTheDriverAskedNotTo) {
  const auto round = [&] {
    offer(1);
    give_back(take());
    queue_.publish();
    return queue_.driver_wants_interrupt();
  };
  EXPECT_FALSE(queue_.driver_wants_interrupt());  // nothing to say
  EXPECT_TRUE(round());
  EXPECT_FALSE(queue_.driver_wants_interrupt());  // said already
  driver_.set_driver_event({.flags = RING_EVENT_FLAGS_DISABLE});
  EXPECT_FALSE(round());
  driver_.set_driver_event({.flags = RING_EVENT_FLAGS_ENABLE});
  EXPECT_FALSE(queue_.driver_wants_interrupt());
  EXPECT_TRUE(round());
}

// VIRTIO 1.3, 2.8.10, 2.8.14; HD-21: a reserved value, or one that was not negotiated, is no reason
// to be silent; reserved bits mean nothing.
TEST_P(PackedDeviceEvents, AnyEventOfTheDriverIsLegal) {
  for (const bool event_idx : {false, true}) {
    negotiate({.event_idx = event_idx});
    for (std::uint32_t value = 0; value < 0x10000; value += 37) {
      const auto flags = static_cast<std::uint16_t>(value);
      driver_.set_driver_event(
          {.off_wrap = static_cast<std::uint16_t>(value * 13), .flags = flags});
      offer(1);
      give_back(take());
      queue_.publish();
      const unsigned kind = flags & 3U;
      const bool wanted = queue_.driver_wants_interrupt();
      if (kind != RING_EVENT_FLAGS_DESC || !event_idx) {
        EXPECT_EQ(wanted, kind != RING_EVENT_FLAGS_DISABLE) << value;
      }
      ASSERT_FALSE(queue_.broken());
    }
  }
}

// VIRTIO 1.3, 2.8.10: with RING_EVENT_FLAGS_DESC the slot and its lap decide.
TEST_P(PackedDeviceEvents, InterruptsWhenTheSlotIsUsedThatTheDriverNamed) {
  negotiate({.event_idx = true});
  PackedPosition position;
  for (std::uint32_t i = 0; i < 5 * kSlots; ++i) {
    // The chain at `position` takes two slots: the driver names the one before it, each of the two,
    // and the one after them.
    for (std::uint32_t ahead = 0; ahead < 3; ++ahead) {
      PackedPosition event = position;
      event.advance(ahead, driver_.size());
      driver_.set_driver_event({.off_wrap = event.off_wrap(), .flags = RING_EVENT_FLAGS_DESC});
      offer(1, 2);
      give_back(take());
      queue_.publish();
      EXPECT_EQ(queue_.driver_wants_interrupt(), ahead < 2);
      position.advance(2, driver_.size());
      EXPECT_TRUE(driver_.take_used(2).has_value());
    }
    PackedPosition behind = position;
    behind.advance(kSlots - 1, driver_.size());
    driver_.set_driver_event({.off_wrap = static_cast<std::uint16_t>(behind.off_wrap() ^ 0x8000U),
                              .flags = RING_EVENT_FLAGS_DESC});
    offer(1);
    give_back(take());
    queue_.publish();
    EXPECT_FALSE(queue_.driver_wants_interrupt());
    position.advance(1, driver_.size());
    EXPECT_TRUE(driver_.take_used().has_value());
  }
}

// VIRTIO 1.3, 2.8.10.
TEST_P(PackedDeviceEvents, SuppressesNotificationsByItsEvent) {
  queue_.suppress_notifications(true);
  EXPECT_EQ(driver_.device_event(), (PackedEvent{.flags = RING_EVENT_FLAGS_DISABLE}));
  queue_.suppress_notifications(false);
  EXPECT_EQ(driver_.device_event(), (PackedEvent{.flags = RING_EVENT_FLAGS_ENABLE}));
}

// The event names the chain that we would take next: at once, and again each time that a pop()
// finds nothing, or the next wakeup is lost.
TEST_P(PackedDeviceEvents, AsksForANotificationOfTheVeryNextChain) {
  negotiate({.event_idx = true});
  const auto event = [](std::uint16_t off_wrap) {
    return PackedEvent{.off_wrap = off_wrap, .flags = RING_EVENT_FLAGS_DESC};
  };
  offer(1, 5);
  give_back(take());
  queue_.publish();
  queue_.suppress_notifications(false);
  EXPECT_EQ(driver_.device_event(), event(5 | 0x8000));
  offer(2, 3);
  give_back(take());
  queue_.publish();
  EXPECT_EQ(driver_.device_event(), event(5 | 0x8000));
  EXPECT_EQ(MUST(queue_.pop(chain_)), std::nullopt);
  EXPECT_EQ(driver_.device_event(), event(1));
  queue_.suppress_notifications(true);
  offer(3);
  take();
  EXPECT_EQ(MUST(queue_.pop(chain_)), std::nullopt);
  EXPECT_EQ(driver_.device_event(), (PackedEvent{.flags = RING_EVENT_FLAGS_DISABLE}));
}

// The driver adds a chain just before any access of the pop() that moves the event: it is taken, or
// the event asks for it.
TEST_P(PackedDeviceEvents, NeverMissesAChainWhileItMovesTheEvent) {
  ASSERT_TRUE(shm::kAccessHook);
  for (std::uint32_t number = 1;; ++number) {
    negotiate({.event_idx = true});
    queue_.suppress_notifications(false);
    offer(1);
    take();
    PackedPosition before = driver_.next_avail();
    bool notified = false;
    testing::Strike strike(region_.bytes(), number, [&] {
      offer(2);
      notified =
          packed_wants_event(driver_.device_event(), true, driver_.next_avail(), 1, driver_.size());
    });
    std::optional<Head> head;
    strike.during([&] { head = MUST(queue_.pop(chain_)); });
    if (!strike.happened()) break;
    EXPECT_TRUE(head.has_value() || notified) << "before access " << number;
    EXPECT_NE(before, driver_.next_avail());
    ASSERT_LT(number, 100U);
  }
}

}  // namespace
}  // namespace airlock::ring
