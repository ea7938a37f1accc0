// SPDX-License-Identifier: Apache-2.0
//
// Goal: a disk works the same whatever was agreed upon for its rings, and one queue can be reset by
// itself. Method: every mode over a small disk in this process; beside each mode that is agreed
// upon, what happens where it isn't, or where the device lies about it.
#include <gtest/gtest.h>

#include <algorithm>

#include "spec/virtio_pci.h"
#include "testing/blk_fixture.h"

namespace airlock::driver {
namespace {

using namespace std::chrono_literals;
using spec::feature;
using Cfg = spec::VirtioPciCommonCfg;

constexpr std::uint64_t kPacked = feature(spec::VIRTIO_F_RING_PACKED);
constexpr std::uint64_t kIndirect = feature(spec::VIRTIO_F_INDIRECT_DESC);
constexpr std::uint64_t kNotificationData = feature(spec::VIRTIO_F_NOTIFICATION_DATA);
constexpr std::uint64_t kRingReset = feature(spec::VIRTIO_F_RING_RESET);

class BlkRingsTest : public testing::BlkFixture {
 protected:
  /// A disk that offers everything, and a driver that allows this.
  void open_with(std::uint64_t ring_features) {
    disk().own_features |= ring::Features::kMask | feature(spec::VIRTIO_BLK_F_MQ);
    disk().config.num_queues.set(static_cast<std::uint16_t>(disk().queue_sizes.size()));
    options_.device.ring_features = ring_features;
    open();
    EXPECT_EQ(blk().device().negotiation().accepted & kRingFeatures, ring_features);
  }
  /// A register of the common configuration reads as `value`, from now on.
  void lie(std::size_t offset, std::uint64_t value) {
    lies_.on_read = [offset, value](const Register& from, std::uint64_t& read) {
      if (from.bar == pci::kRegistersBar && from.offset == pci::kCommonOffset + offset) {
        read = value;
      }
    };
  }
  std::uint64_t submit_read(std::vector<std::byte>& target, std::uint64_t cookie = 0) {
    return MUST(queue().submit({.op = BlkOp::kRead, .target = target, .cookie = cookie}));
  }
};

/// Every combination of the four features that a ring itself has.
class BlkRingModesTest : public BlkRingsTest, public ::testing::WithParamInterface<unsigned> {
 protected:
  static std::uint64_t mode() {
    constexpr unsigned kBits[] = {spec::VIRTIO_F_RING_PACKED, spec::VIRTIO_F_INDIRECT_DESC,
                                  spec::VIRTIO_F_EVENT_IDX, spec::VIRTIO_F_IN_ORDER};
    std::uint64_t features = 0;
    for (unsigned i = 0; i < std::size(kBits); i++) {
      if ((GetParam() >> i & 1) != 0) features |= feature(kBits[i]);
    }
    return features;
  }
};

TEST_P(BlkRingModesTest, WritesAndReadsBackManyTimesAround) {
  disk().queue_sizes = {16};
  open_with(mode() | kNotificationData);
  EXPECT_EQ(MUST(blk().get_id()), "fake-disk");
  for (unsigned round = 0; round < 100; round++) {
    const auto bytes = testing::pattern(std::size_t{512} * (1 + round % 9), round);
    const std::uint64_t at = std::uint64_t{512} * (round * 13 % 1000);
    ASSERT_TRUE(blk().write(at, bytes));
    std::vector<std::byte> back(bytes.size());
    ASSERT_TRUE(blk().read(at, back));
    ASSERT_EQ(back, bytes);
  }
  EXPECT_TRUE(blk().flush());
  EXPECT_EQ(blk().stats().errors, 0U);
}

// Many in flight, returned in batches: with IN_ORDER most of them without a length (HD-32).
TEST_P(BlkRingModesTest, TakesBatchesOfCompletions) {
  disk().queue_sizes = {64};
  open_with(mode());
  const std::uint64_t before = slots_used();
  disk().held = true;
  std::vector<std::vector<std::byte>> targets(300, std::vector<std::byte>(512));
  for (std::size_t i = 0; i < targets.size(); i++) {
    disk().bytes[(i * 512) + 7] = std::byte(i & 0xff);
    MUST(
        queue().submit({.op = BlkOp::kRead, .offset = i * 512, .target = targets[i], .cookie = i}));
  }
  std::size_t done = 0;
  for (int round = 0; round < 1000 && done < targets.size(); round++) {
    queue().kick();
    disk().serve(static_cast<std::size_t>(1 + (round % 7)));
    for (const BlkCompletion& completion : drain()) {
      EXPECT_FALSE(completion.error);
      EXPECT_EQ(targets[completion.cookie][7], std::byte(completion.cookie & 0xff));
      done++;
    }
  }
  EXPECT_EQ(done, targets.size());
  EXPECT_EQ(slots_used(), before);
}

// VIRTIO 1.3, 2.6.1.1.2, 2.6.1.2.2: that queue's requests end, the other's don't notice.
TEST_P(BlkRingModesTest, ResetsOneQueueAndGoesOn) {
  disk().queue_sizes = {16, 16};
  options_.queues = 2;
  open_with(mode() | kRingReset);
  const std::uint64_t before = slots_used();
  disk().held = true;
  std::vector<std::byte> first(512);
  std::vector<std::byte> second(512);
  submit_read(first, 1);
  queue().kick();
  MUST(blk().queue(1).submit({.op = BlkOp::kRead, .target = second, .cookie = 2}));
  blk().queue(1).kick();
  ASSERT_TRUE(blk().reset_queue(0));
  const auto ended = drain();
  ASSERT_EQ(ended.size(), 1U);
  EXPECT_EQ(ended[0].error->code, Errc::kQueueBroken);
  disk().serve();
  const auto other = blk().queue(1).poll();
  ASSERT_TRUE(other);
  EXPECT_FALSE(other->error);
  disk().held = false;
  const auto bytes = testing::pattern(4096);
  EXPECT_TRUE(blk().write(0, bytes));
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), disk().bytes.begin()));
  EXPECT_EQ(slots_used(), before);
}

INSTANTIATE_TEST_SUITE_P(Modes, BlkRingModesTest, ::testing::Range(0U, 16U));

// VIRTIO 1.3, 2.7.5.3: a request takes one slot then, and three without or while half of all are
// free.
TEST_F(BlkRingsTest, RequestsWithATableTakeOneSlotEach) {
  disk().queue_sizes = {16};
  disk().held = true;
  open_with(kIndirect);
  std::vector<std::byte> target(512);
  for (int i = 0; i < 3 + 7; i++)
    submit_read(target);
  EXPECT_EQ(blk().stats().parts, 10U);
  EXPECT_EQ(blk().stats().ring_full, 0U);
  submit_read(target);
  EXPECT_EQ(blk().stats().parts, 10U);
  EXPECT_EQ(blk().stats().ring_full, 1U);
}

TEST_F(BlkRingsTest, RequestsWithoutATableTakeASlotForEachBuffer) {
  disk().queue_sizes = {16};
  disk().held = true;
  open_with(0);
  std::vector<std::byte> target(512);
  for (int i = 0; i < 6; i++)
    submit_read(target);
  EXPECT_EQ(blk().stats().parts, 5U);
  EXPECT_EQ(blk().stats().ring_full, 1U);
}

// Of more buffers than a table has entries: in the ring, as without tables.
TEST_F(BlkRingsTest, LargeRequestsDoWithoutATable) {
  disk().own_features |= feature(spec::VIRTIO_BLK_F_SIZE_MAX) | feature(spec::VIRTIO_BLK_F_SEG_MAX);
  disk().config.size_max.set(512);
  disk().config.seg_max.set(30);
  open_with(kIndirect | kPacked);
  const auto bytes = testing::pattern(std::size_t{20} * 512);
  EXPECT_TRUE(blk().write(0, bytes));
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), disk().bytes.begin()));
  EXPECT_EQ(blk().stats().parts, 1U);
}

// VIRTIO 1.3, 2.8.10.1: a packed ring's size is any; HD-14 for a split one.
TEST_F(BlkRingsTest, PackedRingsMayHaveAnySize) {
  lie(offsetof(Cfg, queue_size), 48);
  open_with(kPacked);
  const auto bytes = testing::pattern(4096);
  for (int i = 0; i < 100; i++)
    ASSERT_TRUE(blk().write(0, bytes));
}

TEST_F(BlkRingsTest, SplitRingsMayNot) {
  disk().own_features |= ring::Features::kMask;
  lie(offsetof(Cfg, queue_size), 48);
  options_.device.ring_features = kRingFeatures & ~kPacked;
  const auto refused = try_open();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kBadQueueSize);
}

// HD-14: nor is every size one that a packed ring can have.
TEST_F(BlkRingsTest, PackedRingsHaveASizeToo) {
  disk().own_features |= ring::Features::kMask;
  for (const std::uint64_t size : {0U, 32769U, 0xffffU}) {
    lie(offsetof(Cfg, queue_size), size);
    const auto refused = try_open();
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kBadQueueSize);
  }
}

// VIRTIO 1.3, 2.8.10.1: a packed ring may have three slots, and one request fits; two are too few.
TEST_F(BlkRingsTest, ARingHoldsOneRequestAtLeast) {
  options_.queue_size = 3;
  open_with(kPacked);
  std::vector<std::byte> target(8192);
  EXPECT_TRUE(blk().read(0, target));
  blk_.reset();
  options_.queue_size = 2;
  EXPECT_EQ(try_open().error().code, Errc::kBadQueueSize);
}

// --- notification data. VIRTIO 1.3, 2.9, 4.1.5.2 ---

class BlkNotifyTest : public BlkRingsTest {
 protected:
  void watch() {
    lies_.on_write = [this](const Register& to, std::uint64_t value) {
      if (to.bar == pci::kRegistersBar && to.offset >= pci::kNotifyOffset) {
        notified_.emplace_back(to.width, value);
      }
      return false;
    };
  }
  std::vector<std::pair<Width, std::uint64_t>> notified_;
};

TEST_F(BlkNotifyTest, SaysWhatIsAvailable) {
  open_with(kNotificationData);
  watch();
  std::vector<std::byte> target(512);
  EXPECT_TRUE(blk().read(0, target));
  EXPECT_TRUE(blk().read(0, target));
  ASSERT_EQ(notified_.size(), 2U);
  EXPECT_EQ(notified_[0], std::pair(Width::k4, std::uint64_t{1} << 16));
  EXPECT_EQ(notified_[1], std::pair(Width::k4, std::uint64_t{2} << 16));
}

// Of a packed ring: the offset of the next available descriptor, and its wrap counter.
TEST_F(BlkNotifyTest, SaysWhereInAPackedRing) {
  open_with(kNotificationData | kPacked);
  watch();
  std::vector<std::byte> target(512);
  EXPECT_TRUE(blk().read(0, target));
  ASSERT_EQ(notified_.size(), 1U);
  EXPECT_EQ(notified_[0], std::pair(Width::k4, std::uint64_t{0x8003} << 16));
}

TEST_F(BlkNotifyTest, SaysOnlyTheQueueWithoutTheFeature) {
  disk().queue_sizes = {16, 16};
  options_.queues = 2;
  open_with(0);
  watch();
  std::vector<std::byte> target(512);
  EXPECT_TRUE(blk().queue(1).run({.op = BlkOp::kRead, .target = target}));
  ASSERT_EQ(notified_.size(), 1U);
  EXPECT_EQ(notified_[0], std::pair(Width::k2, std::uint64_t{1}));
}

// --- the reset of one queue. VIRTIO 1.3, 2.6.1, 4.1.4.3 ---

TEST_F(BlkRingsTest, NoQueueIsResetWithoutTheFeature) {
  open_with(kRingFeaturesByDefault & ~kRingReset);
  std::vector<std::byte> target(512);
  EXPECT_EQ(blk().reset_queue(0).error().code, Errc::kUnsupported);
  EXPECT_EQ(blk().device().reset_queue(0).error().code, Errc::kUnsupported);
  EXPECT_TRUE(blk().read(0, target));  // nothing happened
}

TEST_F(BlkRingsTest, QueuesThatDoNotExistAreNotReset) {
  open_with(kRingReset);
  EXPECT_EQ(blk().device().reset_queue(1).error().code, Errc::kBadIndex);
  EXPECT_FALSE(blk().device().broken());
}

// 4.1.4.3.2: not complete before queue_reset reads 0; HD-19: nor waited for without end.
TEST_F(BlkRingsTest, AQueueThatIsNeverResetBreaksTheDevice) {
  open_with(kRingReset);
  lie(offsetof(Cfg, queue_reset), 1);
  EXPECT_EQ(blk().reset_queue(0).error().code, Errc::kTimeout);
  EXPECT_TRUE(blk().device().broken());
  std::vector<std::byte> target(512);
  EXPECT_EQ(blk().read(0, target).error().code, Errc::kQueueBroken);
  lies_ = {};
  EXPECT_TRUE(blk().reset());
  EXPECT_TRUE(blk().read(0, target));
}

TEST_F(BlkRingsTest, AQueueStillEnabledAfterItsResetIsALie) {
  open_with(kRingReset);
  lie(offsetof(Cfg, queue_enable), 1);
  EXPECT_EQ(blk().reset_queue(0).error(),
            (Error{.code = Errc::kMalformed, .queue = 0, .detail = offsetof(Cfg, queue_enable)}));
  EXPECT_TRUE(blk().device().broken());
}

// HD-23: a device that runs has the ring from the moment that it is enabled. Whatever fails after,
// the memory is nobody else's before a reset.
TEST_F(BlkRingsTest, ARingWithoutRoomForItsRequestsIsNotGivenToOthers) {
  disk().queue_sizes = {16, 16};
  options_.queues = 2;
  open_with(kRingReset);
  std::vector<pool::InPlaceBuffer> hogs;
  const auto take_all = [&] {
    while (auto hog = blk().device().pool().allocate(pool::kSlotBytes))
      hogs.push_back(std::move(*hog));
  };
  // What the other queue's thread may do at any moment.
  lies_.on_write = [&](const Register& to, std::uint64_t) {
    if (to.bar == pci::kRegistersBar &&
        to.offset == pci::kCommonOffset + offsetof(Cfg, queue_enable)) {
      take_all();
    }
    return false;
  };
  EXPECT_EQ(blk().reset_queue(0).error().code, Errc::kPoolFull);
  const std::size_t taken = hogs.size();
  take_all();
  EXPECT_EQ(hogs.size(), taken);
  EXPECT_EQ(queue().submit({.op = BlkOp::kFlush}).error().code, Errc::kQueueBroken);
  hogs.clear();
  std::vector<std::byte> target(512);
  EXPECT_TRUE(blk().queue(1).run({.op = BlkOp::kRead, .target = target}));
  lies_ = {};
  EXPECT_TRUE(blk().reset_queue(0));
  EXPECT_TRUE(blk().read(0, target));
}

TEST_F(BlkRingsTest, AnOfferWithoutTheRegisterIsNoOffer) {
  constexpr std::uint32_t kShort = offsetof(Cfg, queue_reset);
  lies_.on_config_read = [](std::uint16_t offset, std::span<std::byte> target) {
    // The length of the first capability, which is the common configuration's.
    constexpr std::uint16_t kAt =
        spec::PCI_STD_HEADER_SIZEOF + offsetof(spec::VirtioPciCap, length);
    for (std::size_t i = 0; i < target.size(); i++) {
      if (offset + i == kAt) target[i] = std::byte{kShort};
    }
  };
  options_.device.ring_features = kRingReset;
  open();
  EXPECT_FALSE(blk().device().has(spec::VIRTIO_F_RING_RESET));
  EXPECT_EQ(blk().reset_queue(0).error().code, Errc::kUnsupported);
}

}  // namespace
}  // namespace airlock::driver
