// SPDX-License-Identifier: Apache-2.0
//
// Goal: a disk that lies gets an error for it, each request still ends exactly once, and nothing
// reaches the caller's memory that was not checked. Method: each lie on the list, told to a driver
// with three reads in flight, while it opens the disk, or while it resets it; after it the disk is
// honest again, and must work.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <tuple>

#include "driver/blk.h"
#include "testing/blk_fixture.h"
#include "testing/hostile_device.h"

namespace airlock::driver {
namespace {

using namespace std::chrono_literals;
using testing::DeviceLie;

constexpr std::size_t kReadBytes = 4096;
constexpr std::byte kUntouched{0x11};

class BlkHostileTest : public testing::BlkFixture {
 protected:
  BlkHostileTest() {
    set_log_level(LogLevel::kError);
    disk().bytes = testing::pattern(disk().bytes.size());
    disk().own_features |= spec::feature(spec::VIRTIO_BLK_F_TOPOLOGY);
  }

  // Submits three reads that the disk does not answer by itself.
  void submit_three() {
    disk().held = true;
    targets_.assign(3, std::vector<std::byte>(kReadBytes, kUntouched));
    for (std::uint64_t i = 0; i < 3; i++) {
      MUST(queue().submit(
          {.op = BlkOp::kRead, .offset = i * kReadBytes, .target = targets_[i], .cookie = i}));
    }
    queue().kick();
  }
  // Takes what is there; no request may end twice.
  void collect() {
    for (const BlkCompletion& completion : drain()) {
      ASSERT_LT(completion.cookie, targets_.size());
      EXPECT_TRUE(ended_.emplace(completion.cookie, completion.error).second);
      if (completion.error) expect_untouched(completion.cookie);
    }
  }
  void expect_untouched(std::uint64_t cookie) {
    EXPECT_EQ(targets_[cookie], std::vector(kReadBytes, kUntouched));
  }
  std::vector<std::byte> on_disk(std::uint64_t cookie) {
    const auto start = disk().bytes.begin() + static_cast<std::ptrdiff_t>(cookie * kReadBytes);
    return {start, start + kReadBytes};
  }
  // How many ended with this error, or with success.
  std::ptrdiff_t count(std::optional<Errc> code) {
    return std::ranges::count_if(ended_, [&](const auto& end) {
      return code ? end.second && end.second->code == *code : !end.second;
    });
  }
  // All three ended, the device is given up, and the queue takes nothing more.
  void expect_broken() {
    EXPECT_EQ(ended_.size(), 3U);
    EXPECT_TRUE(drain().empty());
    EXPECT_EQ(queue().inside(), 0U);
    std::vector<std::byte> more(512);
    EXPECT_EQ(blk().read(0, more).error().code, Errc::kQueueBroken);
    EXPECT_NE(device_.device().status() & spec::VIRTIO_CONFIG_S_FAILED, 0);
  }
  // Each of the three ended with this error, and nothing was copied to their targets.
  void expect_all_failed(Errc code) {
    collect();
    EXPECT_EQ(count(code), 3);
    expect_broken();
  }
  void expect_works() {
    const auto bytes = testing::pattern(kReadBytes, 99);
    EXPECT_TRUE(blk().write(65536, bytes));
    std::vector<std::byte> back(kReadBytes);
    EXPECT_TRUE(blk().read(65536, back));
    EXPECT_EQ(back, bytes);
  }
  void expect_revival() {
    hostile_.be_honest();
    ASSERT_TRUE(blk().reset());
    expect_works();
  }

  testing::HostileDevice hostile_{device_, lies_};
  std::vector<std::vector<std::byte>> targets_;
  std::map<std::uint64_t, std::optional<Error>> ended_;  // by cookie
};

// --- lies while it runs -----------------------------------------------------------------------

struct RingVariant {
  std::string_view name;
  std::uint64_t features;  // that the driver allows; the disk offers all
};

constexpr std::uint64_t kPacked = spec::feature(spec::VIRTIO_F_RING_PACKED);
constexpr std::uint64_t kAllOthers = ring::Features::kMask & ~kPacked;
constexpr RingVariant kSplitVariants[] = {{"Split", 0}, {"SplitAll", kAllOthers}};
constexpr RingVariant kPackedVariants[] = {{"Packed", kPacked},
                                           {"PackedAll", kPacked | kAllOthers}};
constexpr RingVariant kVariants[] = {kSplitVariants[0], kSplitVariants[1], kPackedVariants[0],
                                     kPackedVariants[1]};
constexpr RingVariant kTableVariants[] = {kSplitVariants[1], kPackedVariants[1]};

// What a lie told to three open reads must come to: `fail` of them end with the error `as`, the
// others well. If it breaks the queue, they end with it all, but for those that ended before. With
// `open` of them the disk lost its own place in the ring: they end with the reset.
struct RunningEnd {
  std::string_view name;
  std::optional<Errc> breaks;
  std::ptrdiff_t fail = 0;
  Errc as = Errc::kSystem;
  std::ptrdiff_t open = 0;
};

constexpr RunningEnd kRingEnds[] = {
    // HD-1
    {"IdIsTheQueueSize", Errc::kBadIndex, 0},
    // HD-1
    {"IdIsFfff", Errc::kBadIndex, 0},
    // HD-2: the first one was answered well before.
    {"IdIsRepeated", Errc::kNotOutstanding, 0},
    // HD-2
    {"IdIsNotPublished", Errc::kNotOutstanding, 0},
    // HD-3
    {"LengthIsFfffffff", Errc::kBadLength, 0},
    // HD-3
    {"LengthIsOneTooMuch", Errc::kBadLength, 0},
    // HD-11
    {"AnswerIsRewritten", Errc::kBadIndex, 0},
    // HD-6, HD-7: what is in the table afterwards is nothing to us.
    {"TableFlipsNext", std::nullopt, 0},
    // HD-6, HD-8
    {"TableFlipsIndirect", std::nullopt, 0},
    // HD-6: what the driver wrote is output, and never read back.
    {"DriverAreaIsRewritten", std::nullopt, 0},
    // HD-21
    {"EventsAreGarbage", std::nullopt, 0},
    // HD-32: any order is right; but no status was written.
    {"AnswersInReverse", std::nullopt, 3, Errc::kMalformed},
};

constexpr RunningEnd kSplitEnds[] = {
    // HD-3: no status was written, so it is no answer to that request; the ring is in order.
    {"LengthIsZero", std::nullopt, 1, Errc::kMalformed},
    // HD-4: an element of zeros ends request 0, which has no status.
    {"UsedWithoutAnAnswer", std::nullopt, 1, Errc::kMalformed},
    // HD-2, HD-4
    {"AllUsedWithoutAnAnswer", Errc::kNotOutstanding, 1, Errc::kMalformed},
    // HD-4
    {"UsedBeyondTheQueueSize", Errc::kBadIndexJump, 0},
    // HD-4
    {"UsedGoesBack", Errc::kBadIndexJump, 0},
    // HD-6, HD-7
    {"TableFlipsWrite", std::nullopt, 0},
    // HD-6
    {"TableLeadsElsewhere", std::nullopt, 0},
    // HD-6, HD-7
    {"TableLoops", std::nullopt, 0},
};

constexpr RunningEnd kPackedEnds[] = {
    // HD-3: no status was written, so it is no answer to that request; the ring is in order.
    {"LengthIsZero", std::nullopt, 1, Errc::kMalformed, 2},
    // HD-5: it ends request 0, which has no status.
    {"UsedWithoutAnAnswer", std::nullopt, 1, Errc::kMalformed, 2},
    // HD-5: each descriptor still has the driver's id; none has a status.
    {"AllUsedWithoutAnAnswer", std::nullopt, 3, Errc::kMalformed},
    // HD-2, HD-4, HD-5: and what was never made available is no answer.
    {"UsedBeyondTheQueueSize", Errc::kNotOutstanding, 3, Errc::kMalformed},
    // HD-5: by the driver's own wrap counter there is nothing.
    {"UsedGoesBack", std::nullopt, 0, Errc::kSystem, 3},
    // HD-6, HD-7: the flags that count are those of the lap.
    {"TableFlipsWrite", std::nullopt, 0},
    // HD-3: the answers lie in the table, and this is their length.
    {"TableLeadsElsewhere", Errc::kBadLength, 0},
    // HD-2: and this is their id, of all of them.
    {"TableLoops", Errc::kNotOutstanding, 0},
};

constexpr RunningEnd kTableEnds[] = {
    // HD-8
    {"IndirectTableLeadsElsewhere", std::nullopt, 0},
};

constexpr RunningEnd kDeviceEnds[] = {
    // HD-20: an interrupt is a hint to look.
    {"InterruptStorm", std::nullopt, 0},
    // HD-24: it lost DRIVER_OK by itself.
    {"StatusIsGarbage", Errc::kWrongState, 0},
    // HD-24
    {"StatusIsNeedsReset", Errc::kNeedsReset, 0},
    // HD-24
    {"StatusIsGone", Errc::kPeerClosed, 0},
    // HD-24
    {"RegistersAreGone", Errc::kPeerClosed, 0},
    // HD-12: it was read once, when the disk was opened.
    {"ConfigIsGarbage", std::nullopt, 0},
    {"GenerationChangesForEver", std::nullopt, 0},
    // HD-11: headers are output, and data was copied out or is the device's own to spoil.
    {"RequestsScribbled", std::nullopt, 0},
    // HD-10, HD-26: nothing of the pool is kept there.
    {"FreeMemoryScribbled", std::nullopt, 0},
    // HD-26: success for data that it never wrote: the caller gets zeros, and nobody's bytes.
    {"SuccessWithoutData", std::nullopt, 0},
};

class BlkRunningLieTest
    : public BlkHostileTest,
      public ::testing::WithParamInterface<std::tuple<RingVariant, RunningEnd>> {
 protected:
  void tell(std::string_view name) {
    for (const testing::RingLie& lie : testing::ring_lies()) {
      if (lie.name == name) return lie.tell(hostile_.ring());
    }
    testing::find_lie(testing::running_lies(), name).tell(hostile_);
  }
};

TEST_P(BlkRunningLieTest, EndsAsItMust) {
  const auto& [variant, end] = GetParam();
  disk().own_features |= ring::Features::kMask;
  options_.device.ring_features = variant.features;
  options_.device.always_tables = true;  // or there were nothing to lie about
  open();
  submit_three();
  tell(end.name);
  (void)queue().wait(20ms);  // however long: what a lie leaves open is served below
  collect();
  if (end.breaks) {
    EXPECT_EQ(queue().broken()->code, *end.breaks);
    EXPECT_EQ(count(std::nullopt) + count(*end.breaks) + end.fail, 3);
    expect_broken();
  } else {
    disk().serve();
    collect();
    EXPECT_EQ(count(std::nullopt), 3 - end.fail - end.open);
    EXPECT_FALSE(queue().broken());
  }
  EXPECT_EQ(end.fail > 0 ? count(end.as) : 0, end.fail);
  const bool no_data = end.name == "SuccessWithoutData";
  const std::vector<std::byte> zeros(kReadBytes);
  for (const auto& [cookie, error] : ended_) {
    if (error) continue;
    EXPECT_EQ(targets_[cookie], no_data ? zeros : on_disk(cookie));
  }
  expect_revival();
  collect();
  EXPECT_EQ(ended_.size(), 3U);
  if (!end.breaks) {
    EXPECT_EQ(count(Errc::kQueueBroken), end.open);
  }
}

std::string running_name(
    const ::testing::TestParamInfo<std::tuple<RingVariant, RunningEnd>>& info) {
  const auto& [variant, end] = info.param;
  return std::string(end.name) + "_" + std::string(variant.name);
}
using ::testing::Combine;
using ::testing::ValuesIn;
INSTANTIATE_TEST_SUITE_P(Ring, BlkRunningLieTest, Combine(ValuesIn(kVariants), ValuesIn(kRingEnds)),
                         running_name);
INSTANTIATE_TEST_SUITE_P(Split, BlkRunningLieTest,
                         Combine(ValuesIn(kSplitVariants), ValuesIn(kSplitEnds)), running_name);
INSTANTIATE_TEST_SUITE_P(Packed, BlkRunningLieTest,
                         Combine(ValuesIn(kPackedVariants), ValuesIn(kPackedEnds)), running_name);
INSTANTIATE_TEST_SUITE_P(Tables, BlkRunningLieTest,
                         Combine(ValuesIn(kTableVariants), ValuesIn(kTableEnds)), running_name);
INSTANTIATE_TEST_SUITE_P(Device, BlkRunningLieTest,
                         Combine(ValuesIn(kVariants), ValuesIn(kDeviceEnds)), running_name);

// --- lies while it opens or resets ------------------------------------------------------------

struct SetupEnd {
  std::string_view name;
  std::optional<Errc> fails;  // nothing: harmless
};

constexpr SetupEnd kOpeningEnds[] = {
    // HD-12: each field is read once.
    {"ConfigChangesAfterALook", std::nullopt},
    // HD-12
    {"GenerationChangesForEver", Errc::kTimeout},
    // HD-16
    {"OfferChanges", Errc::kMalformed},
    // HD-17
    {"InterruptsBeforeDriverOk", std::nullopt},
    // HD-19, HD-24
    {"NeverResets", Errc::kTimeout},
    {"StatusIsGarbage", Errc::kTimeout},
    // HD-15, HD-28: of no use, outside its BAR, or in none.
    {"CapabilitiesLoop", Errc::kMalformed},
    {"CapabilitiesFlicker", std::nullopt},
    {"CapabilitiesAreShort", Errc::kMalformed},
    {"RegionExceedsItsBar", Errc::kNoRegion},
    {"RegionWraps", Errc::kNoRegion},
    {"RegionIsEmpty", Errc::kNoRegion},
    {"RegionIsTooSmall", Errc::kPoolFull},
    {"RegionIsUnaligned", Errc::kNoRegion},
    {"RegionIsInTheRegisters", Errc::kNoRegion},
    {"RegionIsInNoBar", Errc::kNoRegion},
    {"CommonConfigIsTooShort", Errc::kMalformed},
    {"DeviceConfigIsTooShort", Errc::kMalformed},
    {"NotifyIsTooShort", Errc::kMalformed},
    // HD-14: more queues than are wanted are harmless.
    {"NotifyOffsetIsFfff", Errc::kOutOfRange},
    {"NumQueuesIsZero", Errc::kMalformed},
    {"NumQueuesIsFfff", std::nullopt},
    {"QueueSizeIsZero", Errc::kBadQueueSize},
    {"QueueSizeIsFfff", Errc::kBadQueueSize},
    {"QueueSizeIsNoPowerOfTwo", Errc::kBadQueueSize},
    // HD-12
    {"ConfigIsGarbage", Errc::kMalformed},
    // HD-13
    {"PhysicalBlockExpIs64", Errc::kMalformed},
    // HD-16: what we accept of it the disk does not have, and refuses.
    {"OfferIsEverything", Errc::kFeaturesRefused},
    // HD-19: its status never becomes 0.
    {"RegistersAreGone", Errc::kTimeout},
};

class BlkOpeningLieTest : public BlkHostileTest, public ::testing::WithParamInterface<SetupEnd> {};

TEST_P(BlkOpeningLieTest, EndsAsItMust) {
  options_.device.timeout = 50ms;
  testing::find_lie(testing::opening_lies(), GetParam().name).tell(hostile_);
  auto opened = try_open();
  ASSERT_EQ(opened.has_value(), !GetParam().fails);
  if (opened) {
    blk_ = std::move(*opened);
    EXPECT_EQ(blk().info().capacity_bytes, disk().bytes.size());
    expect_works();
    blk_.reset();
  } else {
    EXPECT_EQ(opened.error().code, *GetParam().fails);
  }
  hostile_.be_honest();
  open();
  expect_works();
}

constexpr SetupEnd kResetEnds[] = {
    // HD-18
    {"InterruptsAfterReset", std::nullopt},
    // HD-19, HD-24
    {"NeverResets", Errc::kTimeout},
    {"StatusIsGarbage", Errc::kTimeout},
    // HD-15
    {"CapabilitiesLoop", Errc::kMalformed},
    // HD-25
    {"RegionShrinks", Errc::kMalformed},
    {"RegionMoves", Errc::kMalformed},
    // HD-16
    {"OfferIsAnother", Errc::kMalformed},
    // HD-12: a disk that comes back with another configuration is another disk.
    {"ConfigIsAnother", Errc::kMalformed},
    // HD-12
    {"GenerationChangesForEver", Errc::kTimeout},
};

class BlkResetLieTest : public BlkHostileTest, public ::testing::WithParamInterface<SetupEnd> {};

// HD-23: the requests have ended all the same.
TEST_P(BlkResetLieTest, EndsAsItMust) {
  open();
  submit_three();
  hostile_.ring().use(0xffff, 0);
  expect_all_failed(Errc::kBadIndex);
  hostile_.be_honest();
  testing::find_lie(testing::reset_lies(), GetParam().name).tell(hostile_);
  const auto reset = blk().reset();
  ASSERT_EQ(reset.has_value(), !GetParam().fails);
  if (reset) {
    expect_works();
  } else {
    EXPECT_EQ(reset.error().code, *GetParam().fails);
    std::vector<std::byte> more(512);
    EXPECT_EQ(blk().read(0, more).error().code, Errc::kQueueBroken);
  }
  EXPECT_TRUE(drain().empty());
  expect_revival();
}

std::string setup_name(const ::testing::TestParamInfo<SetupEnd>& info) {
  return std::string(info.param.name);
}
INSTANTIATE_TEST_SUITE_P(Opening, BlkOpeningLieTest, ::testing::ValuesIn(kOpeningEnds), setup_name);
INSTANTIATE_TEST_SUITE_P(Reset, BlkResetLieTest, ::testing::ValuesIn(kResetEnds), setup_name);

TEST(BlkLies, HaveAnEndEach) {
  const auto has_end = [](std::span<const RunningEnd> ends, std::string_view name) {
    return std::ranges::find(ends, name, &RunningEnd::name) != ends.end();
  };
  for (const testing::RingLie& lie : testing::ring_lies()) {
    const bool in_both = has_end(kSplitEnds, lie.name) && has_end(kPackedEnds, lie.name);
    EXPECT_TRUE(has_end(kRingEnds, lie.name) || has_end(kTableEnds, lie.name) || in_both)
        << lie.name;
  }
  for (const DeviceLie& lie : testing::running_lies())
    EXPECT_TRUE(has_end(kDeviceEnds, lie.name)) << lie.name;
  EXPECT_EQ(testing::opening_lies().size(), std::size(kOpeningEnds));
  EXPECT_EQ(testing::reset_lies().size(), std::size(kResetEnds));
}

// --- more of them -----------------------------------------------------------------------------

// HD-11: what the device is only to read it can spoil, and that is all: the caller's bytes stay.
TEST_F(BlkHostileTest, WritesIntoABufferThatItShouldOnlyRead) {
  open();
  disk().held = true;
  const auto bytes = testing::pattern(kReadBytes, 5);
  auto source = bytes;
  MUST(queue().submit({.op = BlkOp::kWrite, .source = source}));
  queue().kick();
  hostile_.scribble_on_requests();
  const auto all = drain();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_FALSE(all[0].error);
  EXPECT_EQ(source, bytes);
  expect_revival();
}

// HD-26: what a lie left in the pool's free memory is never shown as data of the next request.
TEST_F(BlkHostileTest, FreedMemoryShowsNoEarlierRequest) {
  open();
  const auto secret = testing::pattern(kReadBytes, 42);
  EXPECT_TRUE(blk().write(0, secret));
  ASSERT_TRUE(blk().reset());
  submit_three();
  hostile_.claim_success_in_reverse();
  collect();
  EXPECT_EQ(count(std::nullopt), 3);
  for (const auto& target : targets_)
    EXPECT_EQ(target, std::vector<std::byte>(kReadBytes));
}

// HD-31: there is a driver for disks, and it drives nothing else, whatever else a device may be.
TEST_F(BlkHostileTest, IsADeviceOfAnotherType) {
  for (std::uint16_t type = 0; type < 0xc0; type++) {
    lies_.on_config_read = [type](std::uint16_t offset, std::span<std::byte> target) {
      const Le16 id(static_cast<std::uint16_t>(spec::VIRTIO_PCI_DEVICE_ID_BASE + type));
      if (offset == 0 && target.size() == 4) std::memcpy(target.data() + 2, &id, sizeof id);
    };
    const auto opened = try_open();
    ASSERT_EQ(opened.has_value(), type == spec::VIRTIO_ID_BLOCK) << type;
    if (opened) continue;
    EXPECT_EQ(opened.error().code, Errc::kNotVirtio);
  }
}

// An I/O error ends one request and breaks nothing.
TEST_F(BlkHostileTest, ErrorsOfTheDeviceAreErrorsOfTheRequest) {
  open();
  std::uint8_t status = spec::VIRTIO_BLK_S_IOERR;
  disk().on_answer = [&](const auto&, testing::FakeDisk::Answer& answer) {
    answer.status = status;
  };
  std::vector<std::byte> target(512, kUntouched);
  EXPECT_EQ(blk().read(0, target).error().code, Errc::kIoError);
  EXPECT_EQ(target[0], kUntouched);
  status = spec::VIRTIO_BLK_S_UNSUPP;
  EXPECT_EQ(blk().flush().error().code, Errc::kNotSupportedByDevice);
  for (const int garbage : {3, 0x7f, 0xff}) {
    status = static_cast<std::uint8_t>(garbage);
    EXPECT_EQ(blk().read(0, target).error(), (Error{.code = Errc::kMalformed, .detail = status}));
  }
  disk().on_answer = {};
  EXPECT_TRUE(blk().read(0, target));
  EXPECT_EQ(blk().stats().errors, 5U);
}

// HD-3: success with fewer bytes than a read has is no success, and nothing is copied.
TEST_F(BlkHostileTest, LengthTooShortForSuccess) {
  open();
  std::uint32_t written = 0;
  disk().on_answer = [&](const auto&, testing::FakeDisk::Answer& answer) {
    answer.written = written;
  };
  for (const std::uint32_t lie : {0U, 1U, 512U}) {
    written = lie;
    std::vector<std::byte> target(512, kUntouched);
    EXPECT_EQ(blk().read(0, target).error().code, Errc::kBadLength);
    EXPECT_EQ(target[0], kUntouched);
  }
  written = 0;
  EXPECT_EQ(blk().write(0, testing::pattern(512)).error().code, Errc::kBadLength);
  EXPECT_EQ(blk().get_id().error().code, Errc::kBadLength);
  written = 513;
  std::vector<std::byte> target(512);
  EXPECT_TRUE(blk().read(0, target));
}

// One part of a split request fails: one completion, with that error.
TEST_F(BlkHostileTest, OneBadPartFailsTheWholeRequestOnce) {
  options_.part_bytes_max = 4096;
  open();
  disk().on_answer = [&](const spec::VirtioBlkReqHeader& header,
                         testing::FakeDisk::Answer& answer) {
    if (header.sector.get() == 24) answer.status = spec::VIRTIO_BLK_S_IOERR;
  };
  std::vector<std::byte> target(std::size_t{64} * 4096);
  MUST(queue().submit({.op = BlkOp::kRead, .target = target, .cookie = 1}));
  std::vector<BlkCompletion> all;
  while (queue().inside() > 0)
    std::ranges::copy(drain(), std::back_inserter(all));
  std::ranges::copy(drain(), std::back_inserter(all));
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].error->code, Errc::kIoError);
  EXPECT_TRUE(blk().flush());
}

// HD-19, HD-23: a device that never answers costs the timeout, and the caller's memory is safe.
TEST_F(BlkHostileTest, SilenceEndsABlockingCall) {
  options_.timeout = 20ms;
  open();
  disk().held = true;
  std::vector<std::byte> target(512, kUntouched);
  EXPECT_EQ(blk().read(0, target).error().code, Errc::kTimeout);
  disk().serve();  // too late
  EXPECT_TRUE(drain().empty());
  EXPECT_EQ(target[0], kUntouched);
  expect_revival();
}

// HD-18: the slots of what was in flight are not used again before the reset.
TEST_F(BlkHostileTest, KeepsSlotsOutOfUseUntilTheReset) {
  open();
  const std::uint64_t idle = slots_used();
  submit_three();
  EXPECT_EQ(slots_used(), idle + 6);
  hostile_.ring().use(64, 0);
  expect_all_failed(Errc::kBadIndex);
  EXPECT_EQ(slots_used(), idle + 6);
  expect_revival();
  EXPECT_EQ(slots_used(), idle);
}

TEST_F(BlkHostileTest, DeviceInNeedEndsWhatIsInFlight) {  // HD-24
  open();
  submit_three();
  device_.device().report_violation({.code = Errc::kBadIndex});
  EXPECT_TRUE(queue().wait(5s));  // the configuration's interrupt
  expect_all_failed(Errc::kNeedsReset);
  expect_revival();
}

TEST_F(BlkHostileTest, DeviceInNeedWithoutInterruptsIsNoticedInTime) {
  interrupts_ = false;
  open();
  submit_three();
  device_.device().report_violation({.code = Errc::kBadIndex});
  EXPECT_TRUE(queue().wait(20ms));
  expect_all_failed(Errc::kNeedsReset);
  expect_revival();
}

TEST_F(BlkHostileTest, RefusesARingWithoutRoomForARequest) {
  disk().queue_sizes = {2};
  EXPECT_EQ(try_open().error().code, Errc::kBadQueueSize);
}

// Requests that were waiting end with the reset, once.
TEST_F(BlkHostileTest, ResetEndsWhatWaits) {
  disk().queue_sizes = {4};
  open();
  disk().held = true;
  std::vector<std::byte> target(512);
  for (std::uint64_t i = 0; i < 10; i++) {
    MUST(queue().submit({.op = BlkOp::kRead, .target = target, .cookie = i}));
  }
  queue().kick();
  ASSERT_TRUE(blk().reset());
  const auto all = drain();
  EXPECT_EQ(all.size(), 10U);
  for (const BlkCompletion& completion : all) {
    EXPECT_EQ(completion.error->code, Errc::kQueueBroken);
  }
  disk().held = false;
  EXPECT_TRUE(blk().read(0, target));
}

}  // namespace
}  // namespace airlock::driver
