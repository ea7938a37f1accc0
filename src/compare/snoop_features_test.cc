// SPDX-License-Identifier: Apache-2.0
//
// Goal: what a driver may negotiate changes nothing in what a device behind `snoop` gets: indirect
// tables, event indices, queues that are reset and come back in another size. Method: rings by
// hand, as in snoop_test.cc; then the rings of a driver, which waits as it was told to.
#include <algorithm>

#include "compare/models/vmm_copy.h"
#include "compare/snoop_fixture.h"
#include "core/descriptor.h"
#include "ring/driver_queue.h"

namespace airlock::compare {
namespace {

constexpr std::uint64_t kIndirectRing = spec::feature(spec::VIRTIO_F_INDIRECT_DESC);
constexpr std::uint64_t kEventRing = spec::feature(spec::VIRTIO_F_EVENT_IDX);
constexpr std::uint64_t kTableAt = 0x4000;  // in what a guest keeps for its rings

/// With tables, at which hands write what a driver would.
class SnoopTablesTest : public SnoopServedTest {
 protected:
  void SetUp() override {
    SnoopServedTest::SetUp();
    reset();
    start(queue(kIndirectRing));
  }
  void put_entry(std::uint64_t table, std::uint32_t index, std::uint64_t offset,
                 std::uint32_t length, std::uint16_t flags) const {
    const ring::DescriptorWriter writer(
        part(window::RegionOffset{table}, {.bytes = kTableBytes, .alignment = 16}));
    writer.put(index, {.address = std::to_underlying(kPrivateBase) + offset,
                       .length = length,
                       .flags = flags,
                       .next = static_cast<std::uint16_t>(index + 1)});
  }
  void make_table_available(std::uint16_t head, std::uint64_t table, std::uint32_t entries) {
    describe_buffer(head, table, entries * AIRLOCK_DESC_BYTES, AIRLOCK_DESC_INDIRECT);
    make_available(head);
  }

  static constexpr std::uint64_t kTableBytes = std::uint64_t{kSize} * AIRLOCK_DESC_BYTES;
};

// SYS-7: the device gets what the table names, and not the table; each entry counts as it was read.
TEST_F(SnoopTablesTest, ATableThatIsChangedInFlightChangesNothing) {
  put_entry(kTableAt, 0, kFirst, 16, AIRLOCK_DESC_NEXT);
  put_entry(kTableAt, 1, kSecond, 16, AIRLOCK_DESC_WRITE);
  make_table_available(5, kTableAt, 2);
  ring::Chain chain = take();
  ASSERT_EQ(chain.readable_bytes(), 16U);
  ASSERT_EQ(chain.writable_bytes(), 16U);
  EXPECT_EQ(shadow_bytes(shadow_offset(0), 16), guest_bytes(kFirst, 16));
  EXPECT_EQ(words_in_sight(), (std::vector{kFirst, kFirst + 8}));
  put_entry(kTableAt, 1, kSecond + 0x1000, 32, AIRLOCK_DESC_WRITE);
  const Bytes other = guest_bytes(kSecond + 0x1000, 32);
  MUST(chain.write(0, Bytes(16, std::byte{0xee})));
  EXPECT_EQ(finish(chain.head(), 16), (ring::UsedElement{.id = 5, .length = 16}));
  EXPECT_EQ(guest_bytes(kSecond, 16), Bytes(16, std::byte{0xee}));
  EXPECT_EQ(guest_bytes(kSecond + 0x1000, 32), other);

  // The control: the next time it counts.
  make_available(5);
  chain = take();
  ASSERT_EQ(chain.writable_bytes(), 32U);
  MUST(chain.write(0, Bytes(32, std::byte{0xdd})));
  finish(chain.head(), 32);
  EXPECT_EQ(guest_bytes(kSecond + 0x1000, 32), Bytes(32, std::byte{0xdd}));
}

// SYS-7: tables let a guest have more in flight than the shadow ring has descriptors.
TEST_F(SnoopTablesTest, WhatFindsNoRoomWaitsForIt) {
  for (std::uint16_t head = 0; head < kSize; ++head) {
    const std::uint64_t table = kTableAt + (head * kTableBytes);
    for (std::uint32_t index = 0; index < kSize; ++index) {
      const std::uint64_t offset =
          kFirst + (head * std::uint64_t{0x1000}) + (std::uint64_t{index} * 64);
      const bool last = index + 1 == kSize;
      put_entry(table, index, offset, 8, last ? AIRLOCK_DESC_WRITE : AIRLOCK_DESC_NEXT);
    }
    make_table_available(head, table, kSize);
  }
  for (std::uint16_t head = 0; head < kSize; ++head) {
    const ring::Chain chain = take();
    EXPECT_EQ(chain.readable_bytes(), 8U * (kSize - 1));
    EXPECT_EQ(finish(chain.head(), 0).id, head);
  }
  EXPECT_EQ(end(), Errc::kPeerClosed);
}

// SYS-7: of a queue that was reset nothing is in flight, whatever the device held on to.
TEST_F(SnoopServedTest, WhatADeviceReturnsAfterAResetReachesNobody) {
  const auto forgotten = [&](bool with_reset) {
    describe_buffer(0, kFirst, 16, AIRLOCK_DESC_WRITE);
    const Bytes before = guest_bytes(kFirst, 16);
    make_available(0);
    ring::Chain chain = take();
    const shm::Mapping old = std::move(mapping_);
    const auto window = std::move(window_);
    auto device = std::move(device_);
    const EventFd bell = std::move(completion_);
    MUST(chain.write(0, Bytes(16, std::byte{0xee})));
    if (with_reset) {
      reset();
      start(queue());
    }
    MUST(device->push_used(chain.head(), 16));
    device->publish();
    bell.signal();
    if (!with_reset) await(interrupt_, [&] { return used_.acquire_index() == ring::RingIndex(1); });
    return std::pair(before, guest_bytes(kFirst, 16));
  };
  const auto [before, after] = forgotten(true);
  EXPECT_EQ(after, before);
  // A request of the queue's new life is returned alone.
  describe_buffer(3, kSecond, 8, AIRLOCK_DESC_WRITE);
  make_available(3);
  ring::Chain chain = take();
  MUST(chain.write(0, Bytes(8, std::byte{0xdd})));
  EXPECT_EQ(finish(chain.head(), 8), (ring::UsedElement{.id = 3, .length = 8}));
  EXPECT_EQ(used_.acquire_index(), ring::RingIndex(1));
  EXPECT_EQ(guest_bytes(kFirst, 16), before);
  // The control: without the reset it is what was asked for.
  reset();
  start(queue());
  EXPECT_EQ(forgotten(false).second, Bytes(16, std::byte{0xee}));
}

// SYS-7
TEST_F(SnoopServedTest, AQueueComesBackInAnotherSize) {
  for (const std::uint16_t size : {std::uint16_t{2}, kSize, std::uint16_t{4}}) {
    reset();
    QueueStart smaller = queue(spec::feature(spec::VIRTIO_F_RING_RESET));
    smaller.size = size;
    start(smaller);
    EXPECT_EQ(start_.size, size);
    describe_buffer(1, kFirst, 8, AIRLOCK_DESC_WRITE);
    make_available(1);
    EXPECT_EQ(finish(take().head(), 0).id, 1U);
  }
  // Beyond the table, though not beyond the one that was.
  describe_buffer(4, kFirst, 8, 0);
  make_available(4);
  notify_.signal();
  trusted_.join();
  EXPECT_EQ(ended_.code, Errc::kQueueBroken);
}

TEST_F(SnoopFrontTest, ATableThatWasNotNegotiatedBreaksTheQueue) {
  own_.bytes().put(kTableAt, spec::VirtqDesc{.addr = Le64(std::to_underlying(kPrivateBase)),
                                             .len = Le32(8),
                                             .flags = Le16(0),
                                             .next = Le16(0)});
  describe_buffer(0, kTableAt, AIRLOCK_DESC_BYTES, AIRLOCK_DESC_INDIRECT);
  make_available(0);
  RelayedChain chain;
  EXPECT_TRUE(MUST(MUST(make(queue(kIndirectRing)))->pop(chain)));
  EXPECT_EQ(MUST(make(queue()))->pop(chain).error().code, Errc::kQueueBroken);
}

// SYS-7; VIRTIO 1.3, 2.7.7.2: not before the used ring has come to where the driver asked for.
TEST_F(SnoopFrontTest, InterruptsWhereTheDriverAskedForIt) {
  for (const std::uint64_t features : {kEventRing, std::uint64_t{0}}) {
    own_.bytes().fill_zero(0, layout_.block_bytes());
    available_ = 0;
    const auto front = MUST(make(queue(features)));
    avail_.set_used_event(ring::RingIndex(1));
    std::vector<bool> wanted;
    for (std::uint16_t head = 0; head < 3; ++head) {
      describe_buffer(head, kFirst, 8, 0);
      make_available(head);
      RelayedChain chain;
      ASSERT_TRUE(MUST(front->pop(chain)));
      MUST(front->push_used(head, 0));
      front->publish();
      wanted.push_back(front->guest_wants_interrupt());
    }
    const bool always = features == 0;
    EXPECT_EQ(wanted, (std::vector{always, true, always}));
  }
}

// SYS-7; VIRTIO 1.3, 2.7.10.
TEST_F(SnoopFrontTest, AsksForNotificationsWhereItStands) {
  const auto front = MUST(make(queue(kEventRing)));
  front->suppress_notifications(true);
  EXPECT_EQ(used_.avail_event(), ring::RingIndex(0xffff));
  describe_buffer(0, kFirst, 8, 0);
  make_available(0);
  RelayedChain chain;
  ASSERT_TRUE(MUST(front->pop(chain)));
  front->suppress_notifications(false);
  EXPECT_EQ(used_.avail_event(), ring::RingIndex(1));
  EXPECT_EQ(used_.flags(), 0U);
}

struct RelayedRing {
  const char* name;
  Result<void> (*trusted)(const Fd&, const Controls&);
  std::uint64_t features;
};

/// A driver that is the same over any device, and wakes others only if they want it.
class RelayedDriverTest : public SnoopServedTest, public testing::WithParamInterface<RelayedRing> {
 protected:
  static constexpr std::uint64_t kRingAt = 0x10000;
  static constexpr std::uint64_t kTablesAt = 0x20000;
  static constexpr std::uint16_t kEntries = 4;

  void SetUp() override {
    SnoopTest::SetUp();
    serve(GetParam().trusted);
    const ring::Features features = ring::Features::from(GetParam().features);
    const ring::QueueSize size = MUST(ring::QueueSize::from(kSize));
    const ring::Layout layout(size, features.format);
    const ring::DriverQueueConfig config{
        .size = size,
        .areas = layout.block_at(window::RegionOffset{kRingAt}),
        .publisher = {.mode = window::AddressMode::kBus, .region = kPrivateBase},
        .features = features,
        .tables = {.start = window::RegionOffset{kTablesAt}, .entries = kEntries}};
    own_.bytes().fill_zero(kRingAt, layout.block_bytes());
    driver_.emplace(MUST(ring::DriverQueue::create(config, own_.bytes())));
    start({.features = spec::feature(spec::VIRTIO_F_VERSION_1) | GetParam().features,
           .size = kSize,
           .areas = driver_->published_areas()});
  }
  ring::Completion await_completion() {
    ring::Completion completion;
    driver_->want_interrupts(true);
    await(interrupt_, [&] { return MUST(driver_->poll(completion)); });
    driver_->want_interrupts(false);
    return completion;
  }
  void answer_one() {
    ring::Chain chain;
    await(doorbell_, [&] {
      return MUST(device_->pop(chain))
      .has_value();
    });
    Bytes bytes(chain.readable_bytes());
    MUST(chain.read(0, bytes));
    std::ranges::reverse(bytes);
    MUST(chain.write(0, bytes));
    MUST(device_->push_used(chain.head(), static_cast<std::uint32_t>(bytes.size())));
    device_->publish();
    if (device_->driver_wants_interrupt()) completion_.signal();
  }

  std::optional<ring::DriverQueue> driver_;
};

// SYS-7: the driver doesn't know of it. Often enough for indices to go round the ring many times.
TEST_P(RelayedDriverTest, DriversWorkAsTheyAre) {
  constexpr std::uint32_t kRounds = 200;
  constexpr std::uint32_t kLength = 24;
  for (std::uint32_t round = 0; round < kRounds; ++round) {
    const std::uint32_t at_once = 1 + (round % 2);
    for (std::uint32_t i = 0; i < at_once; ++i) {
      const std::uint64_t apart = std::uint64_t{i} * 0x1000;
      const std::uint64_t source = kFirst + apart + (std::uint64_t{round} * 32);
      own_.bytes().fill_zero(kSecond + apart, kLength);
      const std::array readable{
          ring::Buffer{.offset = window::RegionOffset{source}, .length = 8},
          ring::Buffer{.offset = window::RegionOffset{source + 8}, .length = kLength - 8}};
      const ring::Buffer writable{.offset = window::RegionOffset{kSecond + apart},
                                  .length = kLength};
      ASSERT_TRUE(driver_->submit(readable, std::span(&writable, 1), i));
    }
    if (driver_->publish()) notify_.signal();
    for (std::uint32_t i = 0; i < at_once; ++i)
      answer_one();
    for (std::uint32_t i = 0; i < at_once; ++i) {
      const ring::Completion completion = await_completion();
      EXPECT_EQ(completion.written_bytes, kLength);
      const std::uint64_t apart = completion.cookie * 0x1000;
      Bytes sent = guest_bytes(kFirst + apart + (std::uint64_t{round} * 32), kLength);
      std::ranges::reverse(sent);
      ASSERT_EQ(guest_bytes(kSecond + apart, kLength), sent);
    }
  }
  EXPECT_EQ(end(), Errc::kPeerClosed);
}

INSTANTIATE_TEST_SUITE_P(
    Rings, RelayedDriverTest,
    testing::Values(RelayedRing{"SnoopPlain", serve_snoop, 0},
                    RelayedRing{"SnoopIndirect", serve_snoop, kIndirectRing},
                    RelayedRing{"SnoopEvents", serve_snoop, kEventRing},
                    RelayedRing{"SnoopBoth", serve_snoop, kIndirectRing | kEventRing},
                    RelayedRing{"VmmBoth", serve_vmm_copy, kIndirectRing | kEventRing},
                    RelayedRing{
                        "VmmPacked", serve_vmm_copy,
                        spec::feature(spec::VIRTIO_F_RING_PACKED) | kIndirectRing | kEventRing}),
    [](const auto& one) { return std::string(one.param.name); });

}  // namespace
}  // namespace airlock::compare
