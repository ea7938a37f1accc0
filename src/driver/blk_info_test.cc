// SPDX-License-Identifier: Apache-2.0
//
// Goal: a disk's configuration is believed only where it makes sense (HD-12, HD-13). Method: one
// sensible configuration, and each field wrong beside it.
#include "driver/blk_info.h"

#include <gtest/gtest.h>

#include <numeric>

namespace airlock::driver {
namespace {

constexpr std::uint64_t kAll = kBlkFeatures;

spec::VirtioBlkConfig sensible() {
  spec::VirtioBlkConfig config{};
  config.capacity.set(2048);
  config.size_max.set(65536);
  config.seg_max.set(16);
  config.blk_size.set(4096);
  config.physical_block_exp = 2;
  config.num_queues.set(4);
  config.max_discard_sectors.set(1024);
  config.max_discard_seg.set(1);
  config.max_write_zeroes_sectors.set(2048);
  config.max_write_zeroes_seg.set(1);
  config.write_zeroes_may_unmap = 1;
  return config;
}

std::size_t refused_at(const spec::VirtioBlkConfig& config, std::uint64_t features = kAll,
                       std::size_t available = 60) {
  const auto info = parse_blk_config(config, available, features);
  if (info) return 9999;
  EXPECT_EQ(info.error().code, Errc::kMalformed);
  return info.error().detail;
}

TEST(BlkInfo, ReadsASensibleConfiguration) {
  const BlkInfo info = MUST(parse_blk_config(sensible(), 60, kAll));
  EXPECT_EQ(info.capacity_bytes, 2048U * 512);
  EXPECT_EQ(info.block_bytes, 4096U);
  EXPECT_EQ(info.physical_block_bytes, 16384U);
  EXPECT_EQ(info.segment_bytes_max, 65536U);
  EXPECT_EQ(info.segments_max, 16U);
  EXPECT_EQ(info.discard_bytes_max, 1024U * 512);
  EXPECT_EQ(info.write_zeroes_bytes_max, 2048U * 512);
  EXPECT_EQ(info.queues, 4);
  EXPECT_TRUE(info.read_only && info.has_flush && info.write_zeroes_may_unmap);
}

TEST(BlkInfo, BelievesNoFieldWithoutItsFeature) {
  const BlkInfo info = MUST(parse_blk_config(sensible(), 8, 0));
  EXPECT_EQ(info.block_bytes, 512U);
  EXPECT_EQ(info.segments_max, 1U);
  EXPECT_EQ(info.queues, 1);
  EXPECT_EQ(info.discard_bytes_max, 0U);
  EXPECT_FALSE(info.read_only || info.has_flush);
}

TEST(BlkInfo, RefusesEachFieldThatMakesNoSense) {
  using Config = spec::VirtioBlkConfig;
  const auto with = [](auto change) {
    Config config = sensible();
    change(config);
    return refused_at(config);
  };
  EXPECT_EQ(with([](Config&) {}), 9999U);
  EXPECT_EQ(with([](Config& c) { c.capacity.set(~std::uint64_t{0}); }), 0U);
  EXPECT_EQ(with([](Config& c) { c.size_max.set(0); }), offsetof(Config, size_max));
  EXPECT_EQ(with([](Config& c) { c.seg_max.set(0); }), offsetof(Config, seg_max));
  for (const std::uint32_t size : {0U, 1U, 256U, 513U, 131072U, 0x80000000U}) {
    EXPECT_EQ(with([&](Config& c) { c.blk_size.set(size); }), offsetof(Config, blk_size));
  }
  for (const int exponent : {16, 31, 32, 64, 255}) {  // HD-13: before shifting by it
    EXPECT_EQ(with([&](Config& c) { c.physical_block_exp = static_cast<std::uint8_t>(exponent); }),
              offsetof(Config, physical_block_exp));
  }
  EXPECT_EQ(with([](Config& c) { c.num_queues.set(0); }), offsetof(Config, num_queues));
  EXPECT_EQ(with([](Config& c) { c.max_discard_sectors.set(7); }),
            offsetof(Config, max_discard_sectors));
  EXPECT_EQ(with([](Config& c) { c.max_discard_seg.set(0); }),
            offsetof(Config, max_discard_sectors));
  EXPECT_EQ(with([](Config& c) { c.max_write_zeroes_sectors.set(0); }),
            offsetof(Config, max_write_zeroes_sectors));
}

TEST(BlkInfo, RefusesAFeatureWithoutRoomForItsField) {
  EXPECT_EQ(refused_at(sensible(), 0, 4), 0U);
  EXPECT_EQ(refused_at(sensible(), spec::feature(spec::VIRTIO_BLK_F_SEG_MAX), 12), 12U);
  EXPECT_EQ(refused_at(sensible(), spec::feature(spec::VIRTIO_BLK_F_WRITE_ZEROES), 48), 48U);
}

TEST(BlkInfo, WidthsCoverTheFieldsInOrder) {
  const auto widths = blk_config_widths();
  EXPECT_EQ(std::accumulate(widths.begin(), widths.end(), 0U), 60U);
}

}  // namespace
}  // namespace airlock::driver
