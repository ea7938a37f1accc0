// SPDX-License-Identifier: Apache-2.0
#include "device/blk/blk_region.h"

#include <gtest/gtest.h>

#include <bit>

#include "spec/virtio.h"

namespace airlock::device {
namespace {

backend::Geometry disk() {
  return {.capacity_bytes = std::uint64_t{1} << 30};
}

// DEF-4: room for all rings, and for a request of each queue.
TEST(BlkRegion, SmallestHoldsRingsAndRequestsOfEveryQueue) {
  EXPECT_EQ(blk_region_bytes_min({.queues = 1, .queue_size = 256}), std::uint64_t{256} << 10);
  const std::uint64_t many = blk_region_bytes_min({.queues = 16, .queue_size = 1024});
  EXPECT_TRUE(std::has_single_bit(many));
  EXPECT_GE(many, 16U * (1024U * (26 + 8 * 16 + 64) + 2 * 65536));  // ring, tables, frames, data
}

// SIZE_MAX times SEG_MAX stays below half of what the region has for data. VIRTIO 1.3, 5.2.4.
TEST(BlkRegion, SmallRegionBoundsRequests) {
  BlkShape shape{.queues = 1, .queue_size = 256};
  shape.request_bytes_max = blk_request_bytes_max(shape, std::uint64_t{1} << 20);
  EXPECT_LT(shape.request_bytes_max, std::uint64_t{1} << 19);
  const spec::VirtioBlkConfig config = blk_config(disk(), shape);
  EXPECT_GE(config.size_max.get(), 4096U);
  EXPECT_EQ(config.size_max.get() % 4096, 0U);
  EXPECT_LE(std::uint64_t{config.size_max.get()} * config.seg_max.get(), shape.request_bytes_max);
  EXPECT_GE(config.seg_max.get(), 1U);
  EXPECT_NE(blk_features(disk(), shape) & spec::feature(spec::VIRTIO_BLK_F_SIZE_MAX), 0U);
}

TEST(BlkRegion, LargeRegionBoundsNothing) {
  BlkShape shape{.queues = 1, .queue_size = 256};
  shape.request_bytes_max = blk_request_bytes_max(shape, std::uint64_t{64} << 20);
  EXPECT_EQ(shape.request_bytes_max, 0U);
  EXPECT_EQ(blk_config(disk(), shape).size_max.get(), 0U);
  EXPECT_EQ(blk_features(disk(), shape) & spec::feature(spec::VIRTIO_BLK_F_SIZE_MAX), 0U);
}

}  // namespace
}  // namespace airlock::device
