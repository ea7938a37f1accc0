// SPDX-License-Identifier: Apache-2.0
//
// Goal: a disk that lies gets an error for it, each request still ends exactly once, and nothing
// reaches the caller's memory that was not checked. Method: one lie a test, told in the ring, in an
// answer or in a register; then a reset, after which the disk must work again.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "driver/blk.h"
#include "testing/blk_fixture.h"

namespace airlock::driver {
namespace {

using namespace std::chrono_literals;

class BlkHostileTest : public testing::BlkFixture {
 protected:
  BlkHostileTest() { set_log_level(LogLevel::kError); }

  // Submits three reads that the disk does not answer by itself.
  void submit_three() {
    disk().held = true;
    targets_.assign(3, std::vector<std::byte>(4096, std::byte{0x11}));
    for (std::uint64_t i = 0; i < 3; i++) {
      MUST(queue().submit({.op = BlkOp::kRead, .target = targets_[i], .cookie = i}));
    }
    queue().kick();
  }
  // Each of the three ended once, with an error, and nothing was copied to their targets.
  void expect_all_failed(Errc code) {
    std::set<std::uint64_t> cookies;
    for (const BlkCompletion& completion : drain()) {
      ASSERT_TRUE(completion.error);
      EXPECT_EQ(completion.error->code, code);
      EXPECT_TRUE(cookies.insert(completion.cookie).second);
    }
    EXPECT_EQ(cookies.size(), 3U);
    for (const auto& target : targets_) {
      EXPECT_TRUE(std::ranges::all_of(target, [](std::byte b) { return b == std::byte{0x11}; }));
    }
    EXPECT_TRUE(drain().empty());
    EXPECT_EQ(queue().inside(), 0U);
    std::vector<std::byte> more(512);
    EXPECT_EQ(blk().read(0, more).error().code, Errc::kQueueBroken);
    EXPECT_NE(device_.device().status() & spec::VIRTIO_CONFIG_S_FAILED, 0);
  }
  void expect_revival() {
    disk().held = false;
    disk().on_answer = {};
    lies_ = {};
    ASSERT_TRUE(blk().reset());
    const auto bytes = testing::pattern(4096);
    EXPECT_TRUE(blk().write(0, bytes));
    std::vector<std::byte> back(4096);
    EXPECT_TRUE(blk().read(0, back));
    EXPECT_EQ(back, bytes);
  }

  std::vector<std::vector<std::byte>> targets_;
};

TEST_F(BlkHostileTest, IdOutOfRange) {  // HD-1
  open();
  submit_three();
  disk().raw(0).use(64, 4097);
  expect_all_failed(Errc::kBadIndex);
  expect_revival();
}

TEST_F(BlkHostileTest, IdThatIsNotInFlight) {  // HD-2
  open();
  submit_three();
  disk().raw(0).use(63, 4097);
  expect_all_failed(Errc::kNotOutstanding);
  expect_revival();
}

TEST_F(BlkHostileTest, LengthBeyondTheBuffer) {  // HD-3
  open();
  submit_three();
  auto raw = disk().raw(0);
  raw.use(raw.available(0), 0xffff'ffff);
  expect_all_failed(Errc::kBadLength);
  expect_revival();
}

TEST_F(BlkHostileTest, IndexThatJumps) {  // HD-4
  open();
  submit_three();
  disk().raw(0).set_used_index(4);
  expect_all_failed(Errc::kBadIndexJump);
  expect_revival();
}

// HD-2: one completes, then the device returns it again.
TEST_F(BlkHostileTest, SameCompletionTwice) {
  open();
  submit_three();
  auto raw = disk().raw(0);
  const std::uint16_t head = raw.available(0);
  disk().serve(1);
  const auto first = drain();
  ASSERT_EQ(first.size(), 1U);
  EXPECT_FALSE(first[0].error);
  raw.put_used(1, {.id = head, .length = 4097});
  raw.set_used_index(2);
  const auto rest = drain();
  ASSERT_EQ(rest.size(), 2U);
  for (const BlkCompletion& completion : rest) {
    EXPECT_EQ(completion.error->code, Errc::kNotOutstanding);
    EXPECT_NE(completion.cookie, first[0].cookie);
  }
  expect_revival();
}

// HD-6, HD-7: what is in the descriptor table afterwards is nothing to us.
TEST_F(BlkHostileTest, ScribblesOverTheDescriptorTable) {
  open();
  submit_three();
  auto raw = disk().raw(0);
  disk().serve();
  for (std::uint32_t i = 0; i < 64; i++) {
    raw.scribble_descriptor(i, {.address = ~0ULL, .length = ~0U, .flags = 0xffff, .next = 0xffff});
  }
  const auto all = drain();
  ASSERT_EQ(all.size(), 3U);
  for (const BlkCompletion& completion : all)
    EXPECT_FALSE(completion.error);
  disk().held = false;
  std::vector<std::byte> back(65536);
  EXPECT_TRUE(blk().read(0, back));
}

// An I/O error ends one request and breaks nothing.
TEST_F(BlkHostileTest, ErrorsOfTheDeviceAreErrorsOfTheRequest) {
  open();
  std::uint8_t status = spec::VIRTIO_BLK_S_IOERR;
  disk().on_answer = [&](const auto&, testing::FakeDisk::Answer& answer) {
    answer.status = status;
  };
  std::vector<std::byte> target(512, std::byte{0x11});
  EXPECT_EQ(blk().read(0, target).error().code, Errc::kIoError);
  EXPECT_EQ(target[0], std::byte{0x11});
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
    std::vector<std::byte> target(512, std::byte{0x11});
    EXPECT_EQ(blk().read(0, target).error().code, Errc::kBadLength);
    EXPECT_EQ(target[0], std::byte{0x11});
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
  std::vector<std::byte> target(512, std::byte{0x11});
  EXPECT_EQ(blk().read(0, target).error().code, Errc::kTimeout);
  disk().serve();  // too late
  EXPECT_TRUE(drain().empty());
  EXPECT_EQ(target[0], std::byte{0x11});
  expect_revival();
}

// HD-18: the slots of what was in flight are not used again before the reset.
TEST_F(BlkHostileTest, KeepsSlotsOutOfUseUntilTheReset) {
  open();
  const std::uint64_t idle = slots_used();
  submit_three();
  EXPECT_EQ(slots_used(), idle + 6);
  disk().raw(0).use(64, 0);
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

// HD-20: interrupts for nothing, before and after.
TEST_F(BlkHostileTest, StormOfInterruptsIsHarmless) {
  open();
  for (int i = 0; i < 1000; i++)
    device_.device().vectors().fire(1);
  EXPECT_FALSE(queue().poll());
  std::vector<std::byte> target(512);
  EXPECT_TRUE(blk().read(0, target));
  for (int i = 0; i < 1000; i++)
    device_.device().vectors().fire(1);
  EXPECT_FALSE(queue().poll());
}

// HD-19: what never resets can't be revived; the requests have ended all the same.
TEST_F(BlkHostileTest, ResetThatNeverEndsIsAnError) {
  open();
  submit_three();
  disk().raw(0).use(64, 0);
  expect_all_failed(Errc::kBadIndex);
  lies_.on_read = [](const Register& from, std::uint64_t& value) {
    if (from.bar == 0 && from.offset == offsetof(spec::VirtioPciCommonCfg, device_status))
      value = 1;
  };
  EXPECT_EQ(blk().reset().error().code, Errc::kTimeout);
  lies_ = {};
  expect_revival();
}

// HD-12: a disk that comes back with another configuration is another disk.
TEST_F(BlkHostileTest, ResetDoesNotAcceptAnotherDisk) {
  open();
  disk().config.capacity.set(8);
  EXPECT_EQ(blk().reset().error().code, Errc::kMalformed);
  std::vector<std::byte> target(512);
  EXPECT_EQ(blk().read(0, target).error().code, Errc::kQueueBroken);
  disk().config.capacity.set(2048);
  expect_revival();
}

TEST_F(BlkHostileTest, RefusesAConfigurationThatMakesNoSense) {
  disk().own_features |= spec::feature(spec::VIRTIO_BLK_F_TOPOLOGY);
  disk().config.physical_block_exp = 64;
  EXPECT_EQ(try_open().error().code, Errc::kMalformed);
  disk().config.physical_block_exp = 0;
  EXPECT_TRUE(try_open().has_value());
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
