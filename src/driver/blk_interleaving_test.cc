// SPDX-License-Identifier: Apache-2.0
//
// Goal: a disk may change the region at any moment of a driver's call, and still each request ends
// exactly once, with nothing but its own bytes, and the disk can be reset. Method: each lie on the
// list just before every single access that a call makes; and a look at what a call reads twice.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <tuple>

#include "driver/blk.h"
#include "testing/blk_fixture.h"
#include "testing/hostile_device.h"
#include "testing/interleaver.h"

namespace airlock::driver {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kBlockBytes = 512;
constexpr std::byte kCanary{0x11};

// A disk with three reads, of which two are answered and not taken yet.
class BlkWorld {
 public:
  explicit BlkWorld(std::uint64_t ring_features) {
    device_.disk.own_features = ring::Features::kMask;
    Blk::Options options;
    options.queue_size = 16;
    options.spin = 0us;
    options.requests_max = 8;
    options.device.timeout = 50ms;
    options.device.ring_features = ring_features;
    options.device.always_tables = true;  // or there were nothing to change
    blk_ = MUST(
        Blk::open(std::make_unique<testing::FakeTransport>(device_.device(), device_.memfd, lies_,
                                                           testing::FakeTransport::Options{true}),
                  options));
    idle_slots_ = slots_used();
    device_.disk.held = true;
    for (int i = 0; i < 3; i++)
      submit();
    queue().kick();
    hostile_.ring().answer(2);
  }

  /// The driver's mapping: what the disk does through its own does not count.
  [[nodiscard]] shm::SharedBytes memory() { return blk_->device().pool().region(); }
  [[nodiscard]] testing::HostileDevice& hostile() { return hostile_; }
  [[nodiscard]] BlkQueue& queue() { return blk_->queue(0); }

  void submit() {
    const std::uint64_t cookie = submitted_++;
    auto& target = targets_[cookie];
    target.assign(3 * kBlockBytes, kCanary);
    const auto middle = std::span(target).subspan(kBlockBytes, kBlockBytes);
    const auto id = queue().submit({.op = BlkOp::kRead, .target = middle, .cookie = cookie});
    if (!id) refused_++;
  }
  void poll() {
    const auto completion = queue().poll();
    if (completion) end(*completion);
  }
  // Where the driver polls: used.flags and used.idx, or the flags of packed descriptors.
  void allow_polling(testing::DoubleFetchDetector& detector) {
    const pci::QueueSetup& setup = device_.disk.setup(0);
    const std::uint64_t base = std::to_underlying(device_.window.region_bus_base());
    if (!blk_->device().has(spec::VIRTIO_F_RING_PACKED)) {
      return detector.allow_polling(std::to_underlying(setup.device_area) - base,
                                    sizeof(spec::VirtqUsedHeader));
    }
    for (std::uint64_t slot = 0; slot < setup.size; slot++) {
      detector.allow_polling(std::to_underlying(setup.descriptor_area) - base +
                                 (slot * sizeof(spec::PvirtqDesc)) +
                                 offsetof(spec::PvirtqDesc, flags),
                             sizeof(Le16));
    }
  }

  void expect_orderly_end() {
    hostile_.be_honest();
    ASSERT_TRUE(blk_->reset());  // HD-23: what is inside ends here
    while (const auto completion = queue().poll())
      end(*completion);
    EXPECT_EQ(ended_.size() + refused_, submitted_);
    EXPECT_EQ(queue().inside(), 0U);
    EXPECT_EQ(slots_used(), idle_slots_);
    std::vector<std::byte> bytes(kBlockBytes);
    EXPECT_TRUE(blk_->read(0, bytes));
  }

 private:
  void end(const BlkCompletion& completion) {
    ASSERT_LT(completion.cookie, submitted_);
    EXPECT_TRUE(ended_.emplace(completion.cookie, completion.error).second) << "ended twice";
    // Nothing beside the buffer is ever written, and nothing at all after an error.
    const std::span target(targets_[completion.cookie]);
    const std::vector<std::byte> canary(kBlockBytes, kCanary);
    EXPECT_TRUE(std::ranges::equal(target.first(kBlockBytes), canary));
    EXPECT_TRUE(std::ranges::equal(target.last(kBlockBytes), canary));
    if (!completion.error) return;
    EXPECT_TRUE(std::ranges::equal(target.subspan(kBlockBytes, kBlockBytes), canary));
  }
  std::uint64_t slots_used() { return blk_->device().pool().stats().used; }

  testing::FakeDiskDevice device_{{.region_bytes = std::uint64_t{128} << 10}};
  testing::Lies lies_;
  testing::HostileDevice hostile_{device_, lies_};
  std::unique_ptr<Blk> blk_;
  std::map<std::uint64_t, std::vector<std::byte>> targets_;  // by cookie
  std::map<std::uint64_t, std::optional<Error>> ended_;
  std::uint64_t submitted_ = 0;
  std::uint64_t refused_ = 0;
  std::uint64_t idle_slots_ = 0;
};

struct BlkRings {
  std::string_view name;
  std::uint64_t features;  // that the driver allows; the disk offers all
};

constexpr std::uint64_t kPacked = spec::feature(spec::VIRTIO_F_RING_PACKED);
constexpr BlkRings kRings[] = {{"Split", 0},
                               {"SplitAll", ring::Features::kMask & ~kPacked},
                               {"Packed", kPacked},
                               {"PackedAll", ring::Features::kMask}};

struct BlkCall {
  std::string_view name;
  void (*run)(BlkWorld& world);
};

constexpr BlkCall kCalls[] = {
    {"Submit", [](BlkWorld& world) { world.submit(); }},
    {"SubmitAndKick",
     [](BlkWorld& world) {
       world.submit();
       world.queue().kick();
     }},
    {"Poll", [](BlkWorld& world) { world.poll(); }},
};

class BlkInterleavingTest : public ::testing::TestWithParam<std::tuple<BlkRings, BlkCall>> {
 protected:
  BlkInterleavingTest() { set_log_level(LogLevel::kError); }

  // Returns how many accesses there were to strike at.
  static std::uint32_t strike_with(const std::function<void(BlkWorld&)>& mutation) {
    const auto& [rings, call] = GetParam();
    return testing::Interleaver<BlkWorld>{
        .make = [&rings] { return std::make_unique<BlkWorld>(rings.features); },
        .operation = call.run,
        .mutation = mutation,
        .invariant =
            [](BlkWorld& world, std::uint32_t number) {
              SCOPED_TRACE(number);
              world.expect_orderly_end();
            }}
        .run();
  }
};

// HD-11, HD-23.
TEST_P(BlkInterleavingTest, SurvivesEachLieOfTheRingBeforeEachAccess) {
  const std::uint64_t features = std::get<0>(GetParam()).features;
  const bool tables = ring::Features::from(features).indirect;
  for (const testing::RingLie& lie : testing::ring_lies()) {
    if (!tables && lie.name == "IndirectTableLeadsElsewhere") continue;
    SCOPED_TRACE(lie.name);
    EXPECT_GT(strike_with([&](BlkWorld& world) { lie.tell(world.hostile().ring()); }), 5U);
  }
}

// HD-10, HD-11, HD-20, HD-24, HD-26.
TEST_P(BlkInterleavingTest, SurvivesEachLieOfTheDeviceBeforeEachAccess) {
  for (const testing::DeviceLie& lie : testing::running_lies()) {
    SCOPED_TRACE(lie.name);
    EXPECT_GT(strike_with([&](BlkWorld& world) { lie.tell(world.hostile()); }), 5U);
  }
}

std::string call_name(const ::testing::TestParamInfo<std::tuple<BlkRings, BlkCall>>& info) {
  const auto& [rings, call] = info.param;
  return std::string(call.name) + "_" + std::string(rings.name);
}
INSTANTIATE_TEST_SUITE_P(Blk, BlkInterleavingTest,
                         ::testing::Combine(::testing::ValuesIn(kRings),
                                            ::testing::ValuesIn(kCalls)),
                         call_name);

class BlkAccessTest : public ::testing::TestWithParam<BlkRings> {};

// HD-11, DMB-DR5: the status byte, each byte of data and each answer are read once, whatever it
// returns.
TEST_P(BlkAccessTest, NothingIsReadTwice) {
  BlkWorld world(GetParam().features);
  testing::DoubleFetchDetector detector(world.memory());
  world.allow_polling(detector);
  const auto found = detector.watch([&] {
    world.poll();
    world.poll();
  });
  EXPECT_EQ(describe(found), "");
  EXPECT_GE(detector.loads(), 2U * 4);  // id, length, status, data
  EXPECT_EQ(describe(detector.watch([&] { world.submit(); })), "");
  EXPECT_EQ(detector.loads(), 0U);
  world.expect_orderly_end();
}

std::string rings_name(const ::testing::TestParamInfo<BlkRings>& info) {
  return std::string(info.param.name);
}
INSTANTIATE_TEST_SUITE_P(Blk, BlkAccessTest, ::testing::ValuesIn(kRings), rings_name);

}  // namespace
}  // namespace airlock::driver
