// SPDX-License-Identifier: Apache-2.0
//
// Goal: the numbers of a ring are right before any memory is touched. Method: the table of
// VIRTIO 1.3, 2.7, the edges of each type, and what a Reader must not be able to do.
#include "ring/layout.h"

#include <gtest/gtest.h>

#include "ring/concepts.h"
#include "ring/split_areas.h"
#include "ring/split_device_queue.h"
#include "ring/split_driver_queue.h"

namespace airlock::ring {
namespace {

static_assert(DeviceQueueLike<SplitDeviceQueue>);
static_assert(DriverQueueLike<SplitDriverQueue>);

template <class View>
concept CanStore = requires(const View& view) { view.publish_index(RingIndex()); } ||
                   requires(const View& view) { view.set_flags(std::uint16_t{}); } ||
                   requires(const View& view) { view.put(std::uint16_t{}, std::uint16_t{}); } ||
                   requires(const View& view) { view.put(std::uint16_t{}, UsedElement{}); } ||
                   requires(const View& view) { view.put(0U, airlock_descriptor{}); };
// Each half can write its own areas and not the other's.
static_assert(!CanStore<AvailReader> && CanStore<AvailWriter>);
static_assert(!CanStore<UsedReader> && CanStore<UsedWriter>);
static_assert(!CanStore<DescriptorReader> && CanStore<DescriptorWriter>);

// VIRTIO 1.3, 2.7: a power of two, at most 32768.
TEST(QueueSize, TakesPowersOfTwoUpTo32768) {
  for (std::uint32_t size = 1; size <= 32768; size *= 2) {
    EXPECT_EQ(MUST(QueueSize::from(size)).value(), size);
  }
}

TEST(QueueSize, RefusesEverythingElse) {
  for (const std::uint32_t size : {0U, 3U, 12U, 255U, 257U, 32767U, 65536U, 0x80000000U, ~0U}) {
    EXPECT_EQ(QueueSize::from(size).error(), (Error{.code = Errc::kBadQueueSize, .detail = size}));
  }
}

// VIRTIO 1.3, 2.8.10.1: a packed ring may have any number of slots up to 32768.
TEST(QueueSize, OfAPackedRingIsAnyUpTo32768) {
  for (const std::uint32_t size : {1U, 3U, 255U, 32768U}) {
    EXPECT_EQ(MUST(QueueSize::from(size, Format::kPacked)).value(), size);
  }
  for (const std::uint32_t size : {0U, 32769U, ~0U}) {
    EXPECT_EQ(QueueSize::from(size, Format::kPacked).error(),
              (Error{.code = Errc::kBadQueueSize, .detail = size}));
  }
}

TEST(RingIndex, WrapsAt65536AndSlotsAtTheQueueSize) {
  const QueueSize size = MUST(QueueSize::from(8));
  RingIndex index(65535);
  EXPECT_EQ(index.slot(size), 7);
  ++index;
  EXPECT_EQ(index, RingIndex(0));
  EXPECT_EQ(RingIndex(3) - RingIndex(65534), 5);
  EXPECT_EQ(RingIndex(0) - RingIndex(1), 65535);
  EXPECT_EQ(RingIndex(65535).slot(MUST(QueueSize::from(1))), 0);
}

// VIRTIO 1.3, 2.7: 16 * n, 6 + 2 * n, 6 + 8 * n.
TEST(Layout, HasTheSizesOfTheSplitTable) {
  for (const std::uint32_t n : {1U, 2U, 256U, 32768U}) {
    const Layout layout(MUST(QueueSize::from(n)));
    EXPECT_EQ(layout.descriptors().bytes, 16U * n);
    EXPECT_EQ(layout.driver().bytes, 6U + 2U * n);
    EXPECT_EQ(layout.device().bytes, 6U + 8U * n);
  }
}

// VIRTIO 1.3, 2.8.10.1: 16 * n, 4, 4.
TEST(Layout, HasTheSizesOfThePackedTable) {
  for (const std::uint32_t n : {1U, 3U, 32768U}) {
    const Layout layout(MUST(QueueSize::from(n, Format::kPacked)), Format::kPacked);
    EXPECT_EQ(layout.descriptors().bytes, 16U * n);
    EXPECT_EQ(layout.driver().bytes, 4U);
    EXPECT_EQ(layout.device().bytes, 4U);
    EXPECT_EQ(layout.driver().alignment, 4U);
  }
}

TEST(Layout, BlockHoldsThreeAlignedAreasThatShareNoCacheLine) {
  for (std::uint32_t n = 1; n <= 32768; n *= 2) {
    const Layout layout(MUST(QueueSize::from(n)));
    const AreaOffsets areas = layout.block_at(window::RegionOffset{8192});
    const auto descriptors = std::to_underlying(areas.descriptors);
    const auto driver = std::to_underlying(areas.driver);
    const auto device = std::to_underlying(areas.device);
    EXPECT_EQ(descriptors, 8192U);
    EXPECT_GE(driver, descriptors + layout.descriptors().bytes);
    EXPECT_GE(device / 64, (driver + layout.driver().bytes - 1) / 64 + 1);
    EXPECT_EQ(device + layout.device().bytes, 8192U + layout.block_bytes());
    EXPECT_EQ((descriptors | driver | device) % 64, 0U);
  }
}

}  // namespace
}  // namespace airlock::ring
