// SPDX-License-Identifier: Apache-2.0
//
// Goal: whatever a device writes into a ring, and whenever, the driver's half hands out each
// request exactly once, believes no number that it did not check, and keeps count of its slots.
// Method: each lie on the list, told once between two calls; then each again before every single
// access that a call makes.
#include "testing/hostile_device_ring.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "ring/driver_queue.h"
#include "testing/interleaver.h"
#include "testing/test_region.h"

namespace airlock::testing {
namespace {

using ring::Buffer;
using window::RegionOffset;

constexpr std::uint32_t kSlots = 16;
constexpr std::uint32_t kReadable = 16;  // bytes
constexpr std::uint32_t kWritable = 24;
constexpr std::uint16_t kTableEntries = 4;
constexpr std::uint64_t kFirstCookie = 0xfeed'face'0000'0001;

// A driver's queue with its hostile device, and a ledger of what went in and came out.
class RingWorld {
 public:
  explicit RingWorld(const ring::Features& features) : features_(features) {}

  [[nodiscard]] shm::SharedBytes memory() const { return region_.bytes(); }
  [[nodiscard]] HostileRing& device() { return *device_; }
  [[nodiscard]] ring::DriverQueue& queue() { return queue_; }

  void submit() {
    const std::uint64_t at = std::to_underlying(data_) + (64 * submitted_.size());
    const std::array readable{Buffer{.offset = RegionOffset{at}, .length = kReadable}};
    const std::array writable{Buffer{.offset = RegionOffset{at + kReadable}, .length = kWritable}};
    const std::uint64_t cookie = kFirstCookie + submitted_.size();
    if (const auto token = queue_.submit(readable, writable, cookie)) submitted_.insert(cookie);
  }
  void submit_three() {
    for (int i = 0; i < 3; i++)
      submit();
    (void)queue_.publish();
  }
  // Takes one completion: whether there was one.
  bool poll() {
    const auto polled = queue_.poll();
    if (!polled || !polled->has_value()) return false;
    EXPECT_LE((*polled)->written_bytes, kWritable);  // HD-3
    end((*polled)->cookie);
    return true;
  }
  void poll_all() {
    while (poll()) {
    }
  }
  // Takes what the device will never return.
  void take_outstanding() {
    while (const auto taken = queue_.take_outstanding())
      end(taken->cookie);
  }
  [[nodiscard]] std::size_t completed() const { return ended_.size(); }
  // Each request ended, once, and every slot is back.
  void expect_balanced() {
    EXPECT_EQ(ended_, submitted_);
    EXPECT_EQ(queue_.outstanding(), 0U);
    EXPECT_EQ(queue_.free_slots(), kSlots);
  }

 private:
  void end(std::uint64_t cookie) {
    EXPECT_TRUE(submitted_.contains(cookie)) << "a request that was never made";
    EXPECT_TRUE(ended_.insert(cookie).second) << "a request ended twice";
  }

  TestRegion region_{{.size = 65536}};
  ring::Features features_;
  ring::QueueSize size_ = MUST(ring::QueueSize::from(kSlots));
  ring::Layout layout_{size_, features_.format};
  ring::AreaOffsets areas_ = layout_.block_at(region_.allocate(layout_.block_bytes(), 64));
  RegionOffset data_ = region_.allocate(4096);
  ring::IndirectTables tables_{
      .start = region_.allocate(ring::IndirectTables::bytes(size_, kTableEntries), 64),
      .entries = kTableEntries};
  ring::DriverQueue queue_ = MUST(ring::DriverQueue::create({.size = size_,
                                                             .areas = areas_,
                                                             .publisher = region_.publisher(),
                                                             .features = features_,
                                                             .tables = tables_},
                                                            region_.bytes()));
  std::unique_ptr<HostileRing> device_ = HostileRing::create({.region = region_.bytes(),
                                                              .size = size_,
                                                              .areas = areas_,
                                                              .publisher = region_.publisher(),
                                                              .features = features_});
  std::set<std::uint64_t> submitted_;
  std::set<std::uint64_t> ended_;
};

// --- each lie once ----------------------------------------------------------------------------

struct Variant {
  std::string_view name;
  ring::Features features;
};

using enum ring::Format;
constexpr Variant kSplitVariants[] = {{"Plain", {}},
                                      {"EventIdx", {.event_idx = true}},
                                      {"InOrder", {.in_order = true}},
                                      {"Indirect", {.indirect = true}},
                                      {"All", {kSplit, true, true, true}}};
constexpr Variant kPackedVariants[] = {{"Plain", {.format = kPacked}},
                                       {"EventIdx", {.format = kPacked, .event_idx = true}},
                                       {"InOrder", {.format = kPacked, .in_order = true}},
                                       {"Indirect", {.format = kPacked, .indirect = true}},
                                       {"All", {kPacked, true, true, true}}};

// What a lie told with three open requests comes to, whatever else was negotiated.
struct LieEnd {
  std::string_view name;
  std::optional<Errc> breaks;  // nothing: harmless, for the reason above it
};

constexpr LieEnd kSplitEnds[] = {
    // HD-1
    {"IdIsTheQueueSize", Errc::kBadIndex},
    // HD-1
    {"IdIsFfff", Errc::kBadIndex},
    // HD-2
    {"IdIsRepeated", Errc::kNotOutstanding},
    // HD-2
    {"IdIsNotPublished", Errc::kNotOutstanding},
    // HD-3
    {"LengthIsFfffffff", Errc::kBadLength},
    // HD-3: a device may write nothing; that this is no success is for the device type to say.
    {"LengthIsZero", std::nullopt},
    // HD-3
    {"LengthIsOneTooMuch", Errc::kBadLength},
    // HD-11: what counts is what was read, not what was written first.
    {"AnswerIsRewritten", Errc::kBadIndex},
    // HD-4: within what is outstanding it says that the element there is an answer, and an element
    // of zeros names request 0, which ends early, once, with nothing written.
    {"UsedWithoutAnAnswer", std::nullopt},
    // HD-2, HD-4: and it can't end a second time.
    {"AllUsedWithoutAnAnswer", Errc::kNotOutstanding},
    // HD-4
    {"UsedBeyondTheQueueSize", Errc::kBadIndexJump},
    // HD-4
    {"UsedGoesBack", Errc::kBadIndexJump},
    // HD-6, HD-7: the table is output: nothing of it is ever read.
    {"TableFlipsNext", std::nullopt},
    // HD-6, HD-7: the same.
    {"TableFlipsWrite", std::nullopt},
    // HD-6, HD-8: the same.
    {"TableFlipsIndirect", std::nullopt},
    // HD-6: the same.
    {"TableLeadsElsewhere", std::nullopt},
    // HD-6, HD-7: the same: no chain is walked there, so none leads into a loop.
    {"TableLoops", std::nullopt},
    // HD-6: the available ring is output too.
    {"DriverAreaIsRewritten", std::nullopt},
    // HD-21: they steer notifications and nothing else.
    {"EventsAreGarbage", std::nullopt},
    // HD-32: any order is right; with VIRTIO_F_IN_ORDER the first answer stands for all three.
    {"AnswersInReverse", std::nullopt},
};

constexpr LieEnd kPackedEnds[] = {
    // HD-1
    {"IdIsTheQueueSize", Errc::kBadIndex},
    // HD-1
    {"IdIsFfff", Errc::kBadIndex},
    // HD-2
    {"IdIsRepeated", Errc::kNotOutstanding},
    // HD-2
    {"IdIsNotPublished", Errc::kNotOutstanding},
    // HD-3
    {"LengthIsFfffffff", Errc::kBadLength},
    // HD-3: a device may write nothing.
    {"LengthIsZero", std::nullopt},
    // HD-3
    {"LengthIsOneTooMuch", Errc::kBadLength},
    // HD-5, HD-11: what counts is what was read, not what was written first.
    {"AnswerIsRewritten", Errc::kBadIndex},
    // HD-5: the flags say that the descriptor is used, and it still has the driver's id.
    {"UsedWithoutAnAnswer", std::nullopt},
    // HD-5: the same, for each.
    {"AllUsedWithoutAnAnswer", std::nullopt},
    // HD-2, HD-4, HD-5: a descriptor that was never made available is no answer.
    {"UsedBeyondTheQueueSize", Errc::kNotOutstanding},
    // HD-5: used in the lap before is not used; the driver's wrap counter is its own.
    {"UsedGoesBack", std::nullopt},
    // HD-6, HD-7: NEXT means nothing in a used descriptor.
    {"TableFlipsNext", std::nullopt},
    // HD-3, HD-6: without WRITE the length is reserved, and taken only where it could be true.
    {"TableFlipsWrite", std::nullopt},
    // HD-6, HD-8: INDIRECT means nothing in a used descriptor.
    {"TableFlipsIndirect", std::nullopt},
    // HD-3, HD-6: the answers are in the table, and their length is a lie now.
    {"TableLeadsElsewhere", Errc::kBadLength},
    // HD-2, HD-6: and what leads on in a split table is the id of an answer here.
    {"TableLoops", Errc::kNotOutstanding},
    // HD-21: the driver's own event suppression structure is output.
    {"DriverAreaIsRewritten", std::nullopt},
    // HD-21: the device's steers notifications and nothing else.
    {"EventsAreGarbage", std::nullopt},
    // HD-32: as for split rings.
    {"AnswersInReverse", std::nullopt},
};

// For the variants with indirect tables.
constexpr LieEnd kTableEnds[] = {
    // HD-8: written and never read back.
    {"IndirectTableLeadsElsewhere", std::nullopt},
};

class RingLieTest : public ::testing::TestWithParam<std::tuple<Variant, LieEnd>> {};

TEST_P(RingLieTest, EndsAsItMust) {
  const auto& [variant, lie] = GetParam();
  RingWorld world(variant.features);
  world.submit_three();
  ring_lie(lie.name).tell(world.device());
  world.poll_all();
  if (lie.breaks) {
    ASSERT_TRUE(world.queue().broken());
    EXPECT_EQ(world.queue().broken()->code, *lie.breaks);
    world.take_outstanding();  // HD-23
    return world.expect_balanced();
  }
  world.device().answer(world.device().open().size());
  world.poll_all();
  EXPECT_FALSE(world.queue().broken());
  world.expect_balanced();
  world.submit_three();
  world.device().answer(3);
  world.poll_all();
  world.expect_balanced();
  EXPECT_EQ(world.completed(), 6U);
}

std::string lie_name(const ::testing::TestParamInfo<std::tuple<Variant, LieEnd>>& info) {
  const auto& [variant, lie] = info.param;
  return std::string(lie.name) + "_" + std::string(variant.name);
}
using ::testing::Combine;
using ::testing::ValuesIn;
INSTANTIATE_TEST_SUITE_P(Split, RingLieTest,
                         Combine(ValuesIn(kSplitVariants), ValuesIn(kSplitEnds)), lie_name);
INSTANTIATE_TEST_SUITE_P(Packed, RingLieTest,
                         Combine(ValuesIn(kPackedVariants), ValuesIn(kPackedEnds)), lie_name);
INSTANTIATE_TEST_SUITE_P(SplitTables, RingLieTest,
                         Combine(ValuesIn(std::span(kSplitVariants).last(2)), ValuesIn(kTableEnds)),
                         lie_name);
INSTANTIATE_TEST_SUITE_P(PackedTables, RingLieTest,
                         Combine(ValuesIn(std::span(kPackedVariants).last(2)),
                                 ValuesIn(kTableEnds)),
                         lie_name);

TEST(RingLies, HaveAnEndEachInBothFormats) {
  const auto has_end = [](std::span<const LieEnd> ends, std::string_view name) {
    return std::ranges::find(ends, name, &LieEnd::name) != ends.end();
  };
  for (const RingLie& lie : ring_lies()) {
    if (has_end(kTableEnds, lie.name)) continue;
    EXPECT_TRUE(has_end(kSplitEnds, lie.name)) << lie.name;
    EXPECT_TRUE(has_end(kPackedEnds, lie.name)) << lie.name;
  }
}

// --- each lie before each access --------------------------------------------------------------

struct Operation {
  std::string_view name;
  void (*run)(RingWorld& world);
};

constexpr Operation kOperations[] = {
    {"Submit", [](RingWorld& world) { world.submit(); }},
    {"Publish", [](RingWorld& world) { (void)world.queue().publish(); }},
    {"Poll", [](RingWorld& world) { world.poll(); }},
    {"PollAll", [](RingWorld& world) { world.poll_all(); }},
};

// Three requests with the device, of which one is answered, and one that is not published yet.
std::unique_ptr<RingWorld> busy_world(const ring::Features& features) {
  auto world = std::make_unique<RingWorld>(features);
  world->submit_three();
  world->submit();
  world->device().answer(1);
  return world;
}

// HD-23: the end of a queue, however it was treated.
void expect_orderly_end(RingWorld& world) {
  world.poll_all();
  world.queue().abandon();
  world.take_outstanding();
  world.expect_balanced();
}

class RingInterleavingTest : public ::testing::TestWithParam<std::tuple<Variant, Operation>> {
 protected:
  // Returns how many accesses there were to strike at.
  static std::uint32_t strike_with(const std::function<void(RingWorld&)>& mutation) {
    const auto& [variant, operation] = GetParam();
    return Interleaver<RingWorld>{.make = [&variant] { return busy_world(variant.features); },
                                  .operation = operation.run,
                                  .mutation = mutation,
                                  .invariant =
                                      [](RingWorld& world, std::uint32_t number) {
                                        SCOPED_TRACE(number);
                                        expect_orderly_end(world);
                                      }}
        .run();
  }
};

// HD-5, HD-11, HD-22, HD-23.
TEST_P(RingInterleavingTest, SurvivesEachLieBeforeEachAccess) {
  const bool tables = std::get<0>(GetParam()).features.indirect;
  for (const RingLie& lie : ring_lies()) {
    if (!tables && lie.name == kTableEnds[0].name) continue;
    SCOPED_TRACE(lie.name);
    EXPECT_GT(strike_with([&](RingWorld& world) { lie.tell(world.device()); }), 0U);
  }
}

// HD-5, HD-11: the answer changes between the driver's looks at its parts.
TEST_P(RingInterleavingTest, SurvivesAnswersThatChange) {
  constexpr std::array<std::uint32_t, 5> kValues{0, 2, kSlots, 0x1'0000, 0xffff'ffff};
  for (const std::uint32_t id : kValues) {
    for (const std::uint32_t length : kValues) {
      SCOPED_TRACE(id);
      SCOPED_TRACE(length);
      const auto rewrite = [&](RingWorld& world) { world.device().rewrite_answers(id, length); };
      EXPECT_GT(strike_with(rewrite), 0U);
    }
  }
}

std::string operation_name(const ::testing::TestParamInfo<std::tuple<Variant, Operation>>& info) {
  const auto& [variant, operation] = info.param;
  return std::string(operation.name) + "_" + std::string(variant.name);
}
INSTANTIATE_TEST_SUITE_P(Split, RingInterleavingTest,
                         Combine(ValuesIn(kSplitVariants), ValuesIn(kOperations)), operation_name);
INSTANTIATE_TEST_SUITE_P(Packed, RingInterleavingTest,
                         Combine(ValuesIn(kPackedVariants), ValuesIn(kOperations)), operation_name);

// --- what is read, and what is written --------------------------------------------------------

class RingAccessTest : public ::testing::TestWithParam<Variant> {
 protected:
  // Loads of an operation, of which none may see a byte that another saw.
  std::uint32_t loads_of(const std::function<void()>& operation) {
    EXPECT_EQ(describe(detector_.watch(operation)), "");
    return detector_.loads();
  }

  std::unique_ptr<RingWorld> world_ = busy_world(GetParam().features);
  DoubleFetchDetector detector_{world_->memory()};
};

// HD-5, HD-6, HD-7, HD-8, HD-11: submit() reads nothing of shared memory, publish() what the device
// wishes, poll() the index or the flags and both halves of the answer, once.
TEST_P(RingAccessTest, NothingIsReadTwice) {
  world_->queue().want_interrupts(false);
  EXPECT_EQ(loads_of([&] { world_->submit(); }), 0U);
  EXPECT_EQ(loads_of([&] { (void)world_->queue().publish(); }), 1U);
  EXPECT_EQ(loads_of([&] { EXPECT_TRUE(world_->poll()); }), 3U);
  EXPECT_EQ(loads_of([&] { EXPECT_FALSE(world_->poll()); }), 1U);
  EXPECT_EQ(loads_of([&] { world_->queue().want_interrupts(true); }), 0U);
  world_->device().use(0xffff, 0);
  EXPECT_EQ(loads_of([&] { EXPECT_FALSE(world_->poll()); }), 3U);
  EXPECT_EQ(loads_of([&] { world_->take_outstanding(); }), 0U);
}

// HD-29: a cookie may be a pointer, and none of its bytes goes where the device sees them.
TEST_P(RingAccessTest, NoCookieIsInSharedMemory) {
  world_->poll_all();
  std::vector<std::byte> all(world_->memory().size());
  world_->memory().copy_out(0, all);
  const auto upper = static_cast<std::uint32_t>(kFirstCookie >> 32);
  for (std::size_t i = 0; i + sizeof upper <= all.size(); i++) {
    ASSERT_NE(std::memcmp(all.data() + i, &upper, sizeof upper), 0) << "at " << i;
  }
}

std::string variant_name(const ::testing::TestParamInfo<Variant>& info) {
  return std::string(info.param.name);
}
INSTANTIATE_TEST_SUITE_P(Split, RingAccessTest, ValuesIn(kSplitVariants), variant_name);
INSTANTIATE_TEST_SUITE_P(Packed, RingAccessTest, ValuesIn(kPackedVariants), variant_name);

}  // namespace
}  // namespace airlock::testing
