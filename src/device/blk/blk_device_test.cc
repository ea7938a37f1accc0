// SPDX-License-Identifier: Apache-2.0
// What a disk says of itself. VIRTIO 1.3, 5.2.3 and 5.2.4.
#include "device/blk/blk_device.h"

#include <cstring>

#include <gtest/gtest.h>

#include <memory>

#include "backend/memory_backend.h"
#include "spec/virtio.h"
#include "testing/blk_driver.h"
#include "testing/fake_backend.h"

namespace airlock::device {
namespace {

using spec::feature;
using testing::FakeBackend;
using testing::FakeStorage;

std::unique_ptr<BlkDevice> make(const backend::Geometry& geometry, BlkShape shape = {},
                                std::uint64_t ring_features = 0) {
  auto disk = std::make_shared<FakeStorage>();
  disk->geometry = geometry;
  return MUST(BlkDevice::create({.backend = std::make_unique<FakeBackend>(disk),
                                 .shape = shape,
                                 .ring_features = ring_features}));
}

spec::VirtioBlkConfig config_of(const BlkDevice& device) {
  spec::VirtioBlkConfig config{};
  EXPECT_EQ(device.config().size(), 60U);
  std::memcpy(&config, device.config().data(), device.config().size());
  return config;
}

constexpr backend::Geometry kPlain{.capacity_bytes = 1 << 20};

TEST(BlkDevice, OffersWhatItsBackendCan) {
  const std::uint64_t always =
      feature(spec::VIRTIO_BLK_F_SEG_MAX) | feature(spec::VIRTIO_BLK_F_BLK_SIZE) |
      feature(spec::VIRTIO_BLK_F_FLUSH) | feature(spec::VIRTIO_BLK_F_TOPOLOGY);
  EXPECT_EQ(make(kPlain)->features(), always);
  EXPECT_EQ(make(kPlain, {.queues = 4})->features(), always | feature(spec::VIRTIO_BLK_F_MQ));
  backend::Geometry able = kPlain;
  able.can_discard = able.can_write_zeroes = true;
  EXPECT_EQ(make(able)->features(), always | feature(spec::VIRTIO_BLK_F_DISCARD) |
                                        feature(spec::VIRTIO_BLK_F_WRITE_ZEROES));
  able.read_only = true;  // changes nothing, so offers no way to
  EXPECT_EQ(make(able)->features(), always | feature(spec::VIRTIO_BLK_F_RO));
}

TEST(BlkDevice, OffersTheRingFeaturesThatItWasTold) {
  const std::uint64_t plain = make(kPlain)->features();
  for (const unsigned bit : {spec::VIRTIO_F_RING_PACKED, spec::VIRTIO_F_INDIRECT_DESC,
                             spec::VIRTIO_F_EVENT_IDX, spec::VIRTIO_F_IN_ORDER}) {
    EXPECT_EQ(make(kPlain, {}, feature(bit))->features(), plain | feature(bit));
  }
  const auto by_default = MUST(BlkDevice::create(
      {.backend = std::make_unique<FakeBackend>(std::make_shared<FakeStorage>()), .shape = {}}));
  EXPECT_EQ(by_default->features() & ring::Features::kMask, ring::Features::kMask);
}

TEST(BlkDevice, DescribesItselfInTheConfiguration) {
  const auto device = make({.capacity_bytes = std::uint64_t{3} << 30,
                            .logical_block_bytes = 512,
                            .physical_block_bytes = 4096,
                            .optimal_io_bytes = 65536,
                            .can_discard = true,
                            .can_write_zeroes = true,
                            .discard_alignment_bytes = 4096},
                           {.queues = 3, .queue_size = 128});
  const spec::VirtioBlkConfig config = config_of(*device);
  EXPECT_EQ(config.capacity.get(), (std::uint64_t{3} << 30) / 512);
  EXPECT_EQ(config.seg_max.get(), 126U);
  EXPECT_EQ(config.blk_size.get(), 512U);
  EXPECT_EQ(config.physical_block_exp, 3);
  EXPECT_EQ(config.min_io_size.get(), 8);
  EXPECT_EQ(config.opt_io_size.get(), 128U);
  EXPECT_EQ(config.num_queues.get(), 3);
  EXPECT_GT(config.max_discard_sectors.get(), 0U);
  EXPECT_EQ(config.max_discard_seg.get(), kBlkRangesMost);
  EXPECT_EQ(config.discard_sector_alignment.get(), 8U);
  EXPECT_GT(config.max_write_zeroes_sectors.get(), 0U);
  EXPECT_EQ(config.max_write_zeroes_seg.get(), kBlkRangesMost);
  EXPECT_EQ(config.write_zeroes_may_unmap, 1);
}

TEST(BlkDevice, FieldsOfWhatIsNotOfferedAreZero) {
  const spec::VirtioBlkConfig config = config_of(*make(kPlain));
  EXPECT_EQ(config.size_max.get(), 0U);
  EXPECT_EQ(config.max_discard_sectors.get(), 0U);
  EXPECT_EQ(config.max_write_zeroes_seg.get(), 0U);
  EXPECT_EQ(config.write_zeroes_may_unmap, 0);
}

TEST(BlkDevice, KeepsToTheBackendsLimits) {
  backend::Geometry geometry = kPlain;
  geometry.can_discard = geometry.can_write_zeroes = true;
  geometry.max_discard_bytes = 8192;
  geometry.max_write_zeroes_bytes = 4096;
  const spec::VirtioBlkConfig config = config_of(*make(geometry));
  EXPECT_EQ(config.max_discard_sectors.get(), 16U);
  EXPECT_EQ(config.max_write_zeroes_sectors.get(), 8U);
}

TEST(BlkDevice, HasTheQueuesItWasGiven) {
  const auto device = make(kPlain, {.queues = 2, .queue_size = 64});
  EXPECT_EQ(device->virtio_id(), spec::VIRTIO_ID_BLOCK);
  EXPECT_EQ(device->queue_count(), 2);
  EXPECT_EQ(device->queue_size_max(1), 64);
  EXPECT_EQ(device->queue_size_max(2), 0);
}

TEST(BlkDevice, RefusesShapesThatAreNone) {
  for (const BlkShape shape : {BlkShape{.queues = 0}, BlkShape{.queue_size = 0},
                               BlkShape{.queue_size = 2}, BlkShape{.queue_size = 100}}) {
    auto disk = std::make_shared<FakeStorage>();
    const auto device =
        BlkDevice::create({.backend = std::make_unique<FakeBackend>(disk), .shape = shape});
    ASSERT_FALSE(device);
    EXPECT_EQ(device.error().code, Errc::kBadQueueSize);
  }
}

TEST(BlkDevice, RefusesQueuesThatItDoesNotHave) {
  const auto device = make(kPlain, {.queues = 1, .queue_size = 64});
  testing::BlkDriver driver(128);
  QueueContext context{
      .negotiated = {}, .setup = {}, .window = &driver.region().window(), .interrupt = [] {}};
  context.setup.size = 64;
  context.setup.index = 1;
  EXPECT_EQ(device->make_queue(context).error().code, Errc::kBadIndex);
  context.setup.index = 0;
  context.setup.size = 128;
  EXPECT_EQ(device->make_queue(context).error().code, Errc::kBadQueueSize);
  context.setup.size = 0;
  EXPECT_EQ(device->make_queue(context).error().code, Errc::kBadQueueSize);
  context.setup.size = 64;  // the areas are nowhere
  EXPECT_EQ(device->make_queue(context).error().code, Errc::kAddressOutside);
}

TEST(BlkMetrics, AddUp) {
  // On the heap: AddressSanitizer's stack does not keep so large an alignment.
  const auto metrics = std::make_unique<BlkQueueMetrics>();
  metrics->reads += 2;
  metrics->read_bytes += 1024;
  ++metrics->io_errors;
  BlkCounts sum = metrics->snapshot();
  sum += metrics->snapshot();
  EXPECT_EQ(sum, (BlkCounts{.reads = 4, .read_bytes = 2048, .io_errors = 2}));
}

}  // namespace
}  // namespace airlock::device
