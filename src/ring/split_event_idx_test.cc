// SPDX-License-Identifier: Apache-2.0
//
// Goal: with VIRTIO_F_EVENT_IDX each side tells the other of exactly what it asked to hear of, and
// asks again in time. Method: the peer's index before, at and behind each event, and any other
// value; in both address modes. VIRTIO 1.3, 2.7.7, 2.7.10; HD-21.
#include "spec/virtio_ring.h"
#include "testing/split_device_fixture.h"
#include "testing/split_driver_fixture.h"

namespace airlock::ring {
namespace {

// --- device -----------------------------------------------------------------------------------

class SplitDeviceEventIdx : public testing::SplitDeviceFixture {
 protected:
  SplitDeviceEventIdx() : SplitDeviceFixture({.event_idx = true}) {}

  // Takes and returns `count` chains, shown at once; whether the driver wants to hear of it.
  bool round(int count = 1) {
    for (int i = 0; i < count; ++i) {
      driver_.put_descriptor(0, descriptor(0));
      driver_.make_available(0);
      MUST(queue_.push_used(popped(), 0));
    }
    queue_.publish();
    return queue_.driver_wants_interrupt();
  }
};

INSTANTIATE_TEST_SUITE_P(Modes, SplitDeviceEventIdx, testing::address_modes(), testing::mode_name);

// VIRTIO 1.3, 2.7.7.2: an interrupt for the entry whose index is used_event.
TEST_P(SplitDeviceEventIdx, InterruptsAtTheEntryThatTheDriverNamed) {
  EXPECT_FALSE(queue_.driver_wants_interrupt());  // nothing to say
  EXPECT_TRUE(round());                           // entry 0
  EXPECT_FALSE(round());
  driver_.set_used_event(3);
  EXPECT_FALSE(round());  // entry 2
  EXPECT_TRUE(round());
  EXPECT_FALSE(queue_.driver_wants_interrupt());  // said already
  EXPECT_FALSE(round());
}

TEST_P(SplitDeviceEventIdx, InterruptsForAnyEntryOfABatch) {
  static_cast<void>(round());
  for (const int event : {1, 2, 3, 4}) {
    SCOPED_TRACE(event);
    const auto start = driver_.used_index();
    driver_.set_used_event(static_cast<std::uint16_t>(start + event - 1));
    EXPECT_TRUE(round(4));
    driver_.set_used_event(static_cast<std::uint16_t>(driver_.used_index() + 4));
    EXPECT_FALSE(round(4));
  }
}

// What was published earlier and not asked about is part of the answer.
TEST_P(SplitDeviceEventIdx, CountsFromWhenItWasLastAsked) {
  driver_.put_descriptor(0, descriptor(0));
  for (int i = 0; i < 3; ++i) {
    driver_.make_available(0);
    ASSERT_TRUE(queue_.push_used(popped(), 0));
    queue_.publish();
  }
  driver_.set_used_event(1);
  EXPECT_TRUE(queue_.driver_wants_interrupt());
}

// VIRTIO 1.3, 2.7.7.2: the flag is ignored.
TEST_P(SplitDeviceEventIdx, IgnoresTheFlag) {
  driver_.set_avail_flags(spec::VIRTQ_AVAIL_F_NO_INTERRUPT);
  EXPECT_TRUE(round());
}

TEST_P(SplitDeviceEventIdx, IgnoresTheEventWithoutTheFeature) {
  features_ = {};
  queue_ = make();
  driver_.set_used_event(0x4000);
  EXPECT_TRUE(round());
  EXPECT_TRUE(round());
}

// HD-21: every value is legal, each asks for one entry in 2^16.
TEST_P(SplitDeviceEventIdx, InterruptsOnceALapWhateverTheEvent) {
  for (const int event : {0x0000, 0x7fff, 0x8000, 0xffff}) {
    driver_.set_used_event(static_cast<std::uint16_t>(event));
    int interrupts = 0;
    for (int i = 0; i < 0x10000; ++i) {
      const bool due = driver_.used_index() == event;
      const bool interrupt = round();
      ASSERT_EQ(interrupt, due);
      interrupts += interrupt ? 1 : 0;
    }
    EXPECT_EQ(interrupts, 1);
  }
  EXPECT_FALSE(queue_.broken());
}

// VIRTIO 1.3, 2.7.10.2: the flags stay 0; avail_event says which entry to be notified of.
TEST_P(SplitDeviceEventIdx, AsksByEventAndNotByFlag) {
  queue_.suppress_notifications(true);
  EXPECT_EQ(driver_.avail_event(), 0xffff);
  queue_.suppress_notifications(false);
  EXPECT_EQ(driver_.avail_event(), 0);
  static_cast<void>(round(3));
  queue_.suppress_notifications(true);
  EXPECT_EQ(driver_.avail_event(), 2);
  queue_.suppress_notifications(false);
  EXPECT_EQ(driver_.avail_event(), 3);
  EXPECT_EQ(driver_.used_flags(), 0);
}

// One who asked once is told as with flags: asked again whenever the ring is found empty.
TEST_P(SplitDeviceEventIdx, AsksAgainWhenItFindsTheRingEmpty) {
  queue_.suppress_notifications(false);
  static_cast<void>(round(2));
  EXPECT_EQ(driver_.avail_event(), 0);  // not while there is work
  EXPECT_EQ(MUST(queue_.pop(chain_)), std::nullopt);
  EXPECT_EQ(driver_.avail_event(), 2);
}

TEST_P(SplitDeviceEventIdx, DoesNotAskWhileItSuppresses) {
  queue_.suppress_notifications(true);
  static_cast<void>(round(2));
  EXPECT_EQ(MUST(queue_.pop(chain_)), std::nullopt);
  EXPECT_EQ(driver_.avail_event(), 0xffff);
}

TEST_P(SplitDeviceEventIdx, LeavesTheEventAloneOnceBroken) {
  driver_.make_available(0xffff);
  EXPECT_EQ(code_of_pop(), Errc::kBadIndex);
  queue_.suppress_notifications(true);
  EXPECT_EQ(driver_.avail_event(), 0);
  EXPECT_FALSE(queue_.driver_wants_interrupt());
}

// --- driver -----------------------------------------------------------------------------------

class SplitDriverEventIdx : public testing::SplitDriverFixture {
 protected:
  SplitDriverEventIdx() : SplitDriverFixture({.event_idx = true}) {}

  // Publishes `count` requests at once, and completes them; whether the device wants to hear.
  bool round(int count = 1) {
    for (int i = 0; i < count; ++i)
      heads_.push_back(std::to_underlying(submit()));
    const bool notify = queue_.publish();
    for (const std::uint16_t head : heads_)
      device_.use(head, 0);
    for ([[maybe_unused]] const std::uint16_t head : heads_)
      static_cast<void>(completed());
    heads_.clear();
    return notify;
  }

  std::vector<std::uint16_t> heads_;
};

INSTANTIATE_TEST_SUITE_P(Modes, SplitDriverEventIdx, testing::address_modes(), testing::mode_name);

// VIRTIO 1.3, 2.7.10.1: a notification for the entry whose index is avail_event.
TEST_P(SplitDriverEventIdx, NotifiesAtTheEntryThatTheDeviceNamed) {
  EXPECT_FALSE(queue_.publish());  // nothing new
  EXPECT_TRUE(round());            // entry 0
  EXPECT_FALSE(round());
  device_.set_avail_event(3);
  EXPECT_FALSE(round());  // entry 2
  EXPECT_TRUE(round());
  EXPECT_FALSE(round());
}

TEST_P(SplitDriverEventIdx, NotifiesForAnyEntryOfABatch) {
  static_cast<void>(round());
  for (const int event : {1, 2, 3, 4}) {
    SCOPED_TRACE(event);
    device_.set_avail_event(static_cast<std::uint16_t>(device_.avail_index() + event - 1));
    EXPECT_TRUE(round(4));
    device_.set_avail_event(static_cast<std::uint16_t>(device_.avail_index() + 4));
    EXPECT_FALSE(round(4));
  }
}

// VIRTIO 1.3, 2.7.10.1: the flag is ignored.
TEST_P(SplitDriverEventIdx, IgnoresTheFlag) {
  device_.set_used_flags(spec::VIRTQ_USED_F_NO_NOTIFY);
  EXPECT_TRUE(round());
}

TEST_P(SplitDriverEventIdx, IgnoresTheEventWithoutTheFeature) {
  features_ = {};
  queue_ = MUST(SplitDriverQueue::create(config(), region_.bytes()));
  device_.set_avail_event(0x4000);
  EXPECT_TRUE(round());
  EXPECT_TRUE(round());
}

// HD-21: every value is legal, each asks for one entry in 2^16.
TEST_P(SplitDriverEventIdx, NotifiesOnceALapWhateverTheEvent) {
  for (const int event : {0x0000, 0x7fff, 0x8000, 0xffff}) {
    device_.set_avail_event(static_cast<std::uint16_t>(event));
    int notifications = 0;
    for (int i = 0; i < 0x10000; ++i) {
      const bool due = device_.avail_index() == event;
      const bool notify = round();
      ASSERT_EQ(notify, due);
      notifications += notify ? 1 : 0;
    }
    EXPECT_EQ(notifications, 1);
  }
  EXPECT_FALSE(queue_.broken());
}

// VIRTIO 1.3, 2.7.7.1: the flags stay 0; used_event says which entry to be interrupted for.
TEST_P(SplitDriverEventIdx, AsksByEventAndNotByFlag) {
  queue_.want_interrupts(false);
  EXPECT_EQ(device_.used_event(), 0xffff);
  queue_.want_interrupts(true);
  EXPECT_EQ(device_.used_event(), 0);
  static_cast<void>(round(3));
  queue_.want_interrupts(false);
  EXPECT_EQ(device_.used_event(), 2);
  queue_.want_interrupts(true);
  EXPECT_EQ(device_.used_event(), 3);
  EXPECT_EQ(device_.avail_flags(), 0);
}

// One who asked once is told as with flags: asked again whenever the ring is found empty.
TEST_P(SplitDriverEventIdx, AsksAgainWhenItFindsTheRingEmpty) {
  queue_.want_interrupts(true);
  static_cast<void>(round(2));
  EXPECT_EQ(device_.used_event(), 0);  // not while there is work
  EXPECT_EQ(MUST(queue_.poll()), std::nullopt);
  EXPECT_EQ(device_.used_event(), 2);
}

TEST_P(SplitDriverEventIdx, DoesNotAskWhileItWantsNone) {
  queue_.want_interrupts(false);
  static_cast<void>(round(2));
  EXPECT_EQ(MUST(queue_.poll()), std::nullopt);
  EXPECT_EQ(device_.used_event(), 0xffff);
}

TEST_P(SplitDriverEventIdx, LeavesTheEventAloneOnceBroken) {
  queue_.abandon();
  queue_.want_interrupts(false);
  EXPECT_EQ(device_.used_event(), 0);
}

}  // namespace
}  // namespace airlock::ring
