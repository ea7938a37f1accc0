// SPDX-License-Identifier: Apache-2.0
//
// Goal: the device's half of a ring decides by what it read once, whatever the driver makes of it
// meanwhile. Method: each of its calls watched for bytes that it reads twice; then pop() with the
// driver's whole memory rewritten before each single access.
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ring/chain.h"
#include "ring/device_queue.h"
#include "ring/driver_queue.h"
#include "testing/interleaver.h"
#include "testing/test_region.h"

namespace airlock::testing {
namespace {

constexpr std::uint16_t kTableEntries = 4;

// Both halves of a queue with three requests that the device did not look at yet.
class DeviceWorld {
 public:
  explicit DeviceWorld(const ring::Features& features) : features_(features) {
    for (std::uint64_t i = 0; i < 3; i++) {
      const std::uint64_t at = std::to_underlying(data_) + (64 * i);
      const std::array readable{ring::Buffer{.offset = window::RegionOffset{at}, .length = 16}};
      const std::array writable{
          ring::Buffer{.offset = window::RegionOffset{at + 16}, .length = 16}};
      (void)MUST(driver.submit(readable, writable, i));
    }
    (void)driver.publish();
  }
  [[nodiscard]] shm::SharedBytes memory() const { return region_.bytes(); }

  /// Everything that a driver has written, and may write: areas and tables.
  void scribble(std::byte value) const {
    const std::uint64_t start = std::to_underlying(areas_.descriptors);
    memory().copy_in(start, std::vector(std::to_underlying(data_) - start, value));
  }

 private:
  TestRegion region_{{.size = 65536}};
  ring::Features features_;
  ring::QueueSize size_ = MUST(ring::QueueSize::from(16));
  ring::Layout layout_{size_, features_.format};
  ring::AreaOffsets areas_ = layout_.block_at(region_.allocate(layout_.block_bytes(), 64));
  ring::IndirectTables tables_{
      .start = region_.allocate(ring::IndirectTables::bytes(size_, kTableEntries), 64),
      .entries = kTableEntries};
  window::RegionOffset data_ = region_.allocate(4096);

 public:
  ring::DriverQueue driver = MUST(ring::DriverQueue::create({.size = size_,
                                                             .areas = areas_,
                                                             .publisher = region_.publisher(),
                                                             .features = features_,
                                                             .tables = tables_},
                                                            region_.bytes()));
  ring::DeviceQueue device = MUST(ring::DeviceQueue::create(
      {.size = size_, .areas = driver.published_areas(), .features = features_}, region_.window()));
  ring::Chain chain;
};

struct DeviceVariant {
  std::string_view name;
  ring::Features features;
};

using enum ring::Format;
constexpr DeviceVariant kVariants[] = {{"Split", {}},
                                       {"SplitAll", {kSplit, true, true, true}},
                                       {"Packed", {.format = kPacked}},
                                       {"PackedAll", {kPacked, true, true, true}}};

class DeviceAccessTest : public ::testing::TestWithParam<DeviceVariant> {};

// Index, descriptors and tables are copied once, then checked.
TEST_P(DeviceAccessTest, NothingIsReadTwice) {
  DeviceWorld world(GetParam().features);
  DoubleFetchDetector detector(world.memory());
  const auto loads_of = [&](const std::function<void()>& operation) {
    EXPECT_EQ(describe(detector.watch(operation)), "");
    return detector.loads();
  };
  EXPECT_GE(loads_of([&] { EXPECT_TRUE(MUST(world.device.pop(world.chain))); }), 4U);
  EXPECT_EQ(loads_of([&] { MUST(world.device.push_used(world.chain.head(), 16)); }), 0U);
  EXPECT_EQ(loads_of([&] { world.device.publish(); }), 0U);
  EXPECT_LE(loads_of([&] { (void)world.device.driver_wants_interrupt(); }), 1U);
  EXPECT_GE(loads_of([&] { EXPECT_TRUE(MUST(world.device.pop(world.chain))); }), 3U);
}

// A chain that comes out lies in the region; one that doesn't breaks the queue.
TEST_P(DeviceAccessTest, SurvivesADriverThatRewritesEverythingBeforeEachAccess) {
  for (const std::byte value : {std::byte{0}, std::byte{0x01}, std::byte{0x80}, std::byte{0xff}}) {
    const std::uint32_t struck = Interleaver<DeviceWorld>{
        .make = [] { return std::make_unique<DeviceWorld>(GetParam().features); },
        .operation = [](DeviceWorld& world) { (void)world.device.pop(world.chain); },
        .mutation = [value](DeviceWorld& world) { world.scribble(value); },
        .invariant =
            [](DeviceWorld& world, std::uint32_t number) {
              SCOPED_TRACE(number);
              const auto region = world.memory().in_place();
              if (world.device.broken()) {
                EXPECT_EQ(world.device.pop(world.chain).error().code, Errc::kQueueBroken);
                return;
              }
              for (const auto& spans : {world.chain.readable(), world.chain.writable()}) {
                for (const window::SharedSpan& span : spans) {
                  EXPECT_GE(span.in_place().data(), region.data());
                  EXPECT_LE(span.in_place().data() + span.size(), region.data() + region.size());
                }
              }
            }}.run();
    EXPECT_GE(struck, 4U);
  }
}

std::string device_variant_name(const ::testing::TestParamInfo<DeviceVariant>& info) {
  return std::string(info.param.name);
}
INSTANTIATE_TEST_SUITE_P(Rings, DeviceAccessTest, ::testing::ValuesIn(kVariants),
                         device_variant_name);

}  // namespace
}  // namespace airlock::testing
