// SPDX-License-Identifier: Apache-2.0
//
// Goal: a disk that works: every operation, requests of any size, in place and bounced, more of
// them than there is room for. Method: a small disk in this process, looked at from both sides.
#include "driver/blk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <set>
#include <thread>

#include "shm/access_hook.h"
#include "testing/blk_fixture.h"

namespace airlock::driver {
namespace {

using namespace std::chrono_literals;

class BlkTest : public testing::BlkFixture {};

TEST_F(BlkTest, WritesAndReadsBack) {
  open();
  const auto bytes = testing::pattern(8192);
  EXPECT_TRUE(blk().write(4096, bytes));
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), disk().bytes.begin() + 4096));
  std::vector<std::byte> back(8192);
  EXPECT_TRUE(blk().read(4096, back));
  EXPECT_EQ(back, bytes);
  EXPECT_TRUE(blk().flush());
  EXPECT_EQ(MUST(blk().get_id()), "fake-disk");
  const BlkStats stats = blk().stats();
  EXPECT_EQ(stats.requests, 4U);
  EXPECT_EQ(stats.errors, 0U);
  EXPECT_EQ(stats.bytes_read, 8192U);
  EXPECT_EQ(stats.bytes_written, 8192U);
  EXPECT_EQ(stats.copies, 2U);
  EXPECT_EQ(stats.bytes_copied, 16384U);
}

TEST_F(BlkTest, CopiesNothingThatIsInPlace) {
  open();
  auto buffer = MUST(blk().allocate(16384));
  const auto bytes = testing::pattern(16384);
  std::ranges::copy(bytes, buffer.span().begin());
  EXPECT_TRUE(blk().write(0, buffer.span()));
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), disk().bytes.begin()));
  std::ranges::fill(buffer.span(), std::byte{0});
  EXPECT_TRUE(blk().read(512, buffer.span().subspan(1024, 512)));
  EXPECT_TRUE(std::equal(bytes.begin() + 512, bytes.begin() + 1024, buffer.span().begin() + 1024));
  EXPECT_EQ(blk().stats().copies, 0U);
  EXPECT_EQ(blk().stats().bytes_copied, 0U);
  EXPECT_EQ(blk().device().pool().stats().maps, 0U);
}

TEST_F(BlkTest, RefusesMemoryOfTheRegionThatIsNoBuffer) {
  open();
  const auto memory = blk().device().pool().region().in_place();
  EXPECT_EQ(blk().read(0, memory.subspan(0, 512)).error().code, Errc::kBadHandle);
  auto buffer = MUST(blk().allocate(4096));
  const auto span = buffer.span();
  EXPECT_TRUE(blk().read(0, span));
  buffer.reset();
  EXPECT_EQ(blk().read(0, span).error().code, Errc::kBadHandle);
}

TEST_F(BlkTest, KeepsAnInPlaceBufferUntilTheRequestEnds) {
  open();
  disk().held = true;
  auto buffer = MUST(blk().allocate(4096));
  const std::uint64_t used = slots_used();
  MUST(queue().submit({.op = BlkOp::kRead, .target = buffer.span()}));
  queue().kick();
  buffer.reset();
  EXPECT_EQ(slots_used(), used);
  disk().serve();
  EXPECT_EQ(drain().size(), 1U);
  EXPECT_EQ(slots_used(), used - 2);
}

TEST_F(BlkTest, SplitsWhatIsLargerThanTheLimits) {
  disk().own_features |=
      spec::feature(spec::VIRTIO_BLK_F_SIZE_MAX) | spec::feature(spec::VIRTIO_BLK_F_SEG_MAX);
  disk().config.size_max.set(4096);
  disk().config.seg_max.set(3);
  open();
  const auto bytes = testing::pattern(51200);
  EXPECT_TRUE(blk().write(0, bytes));
  std::vector<std::byte> back(bytes.size());
  EXPECT_TRUE(blk().read(0, back));
  EXPECT_EQ(back, bytes);
  EXPECT_EQ(disk().served(), 2 * 5U);  // 12288 bytes at most in each
}

TEST_F(BlkTest, SplitsByThePoolAndNeverWaitsForItself) {
  open();
  const auto bytes = testing::pattern(1 << 20);  // as large as the whole region
  EXPECT_TRUE(blk().write(0, bytes));
  EXPECT_EQ(disk().bytes, bytes);
  std::vector<std::byte> back(bytes.size());
  EXPECT_TRUE(blk().read(0, back));
  EXPECT_EQ(back, bytes);
}

// HD-30: with the pool in other hands, the driver makes do with what is left.
TEST_F(BlkTest, MakesDoWithAPoolThatIsNearlyFull) {
  open();
  std::vector<pool::InPlaceBuffer> hogs;
  while (auto hog = blk().device().pool().allocate(pool::kSlotBytes)) {
    hogs.push_back(std::move(*hog));
  }
  hogs.pop_back();
  const auto bytes = testing::pattern(65536);
  EXPECT_TRUE(blk().write(0, bytes));
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), disk().bytes.begin()));
  EXPECT_GT(blk().stats().pool_full, 0U);
}

TEST_F(BlkTest, WaitsForAPoolThatIsFullAndLosesNothing) {
  open();
  std::vector<pool::InPlaceBuffer> hogs;
  while (auto hog = blk().device().pool().allocate(pool::kSlotBytes)) {
    hogs.push_back(std::move(*hog));
  }
  const auto bytes = testing::pattern(512);
  MUST(queue().submit({.op = BlkOp::kWrite, .source = bytes, .cookie = 9}));
  EXPECT_EQ(queue().wait(5ms).error().code, Errc::kTimeout);
  EXPECT_EQ(queue().inside(), 1U);
  hogs.clear();
  EXPECT_TRUE(queue().wait(1s));
  EXPECT_EQ(queue().poll()->cookie, 9U);
}

// Completes the first part of a request when its driver has made up its mind to sleep, takes the
// slot that the part had, as another queue would, and gives it back ten looks later.
class SlotThief final : public shm::AccessObserver {
 public:
  SlotThief(testing::FakeDisk& disk, pool::Pool& pool) : disk_(disk), pool_(pool) {}

  void before_access(const shm::Access& access) override {
    if (!served_) {
      if (access.kind != shm::Access::Kind::kStore) return;
      served_ = true;  // the driver asks for an interrupt
      disk_.serve();
    } else if (!stolen_ && looks_ == 0) {
      if (auto slot = pool_.allocate(pool::kSlotBytes)) stolen_.emplace(std::move(*slot));
    } else if (stolen_ && ++looks_ == 10) {
      stolen_.reset();
      disk_.held = false;
    }
  }
  [[nodiscard]] int looks() const { return looks_; }

 private:
  testing::FakeDisk& disk_;
  pool::Pool& pool_;
  std::optional<pool::InPlaceBuffer> stolen_;
  bool served_ = false;
  int looks_ = 0;
};

// HD-30: what waits for the pool alone has no interrupt to wait for.
TEST_F(BlkTest, DoesNotSleepWhenThePoolIsAllThatItWaitsFor) {
  options_.spin = 0us;
  open();
  disk().held = true;
  std::vector<pool::InPlaceBuffer> hogs;
  while (auto hog = blk().device().pool().allocate(pool::kSlotBytes)) {
    hogs.push_back(std::move(*hog));
  }
  hogs.pop_back();
  const auto bytes = testing::pattern(2 * pool::kSlotBytes);
  MUST(queue().submit({.op = BlkOp::kWrite, .source = bytes, .cookie = 9}));
  queue().kick();
  SlotThief thief(disk(), blk().device().pool());
  const shm::ScopedAccessHook hook(&thief);
  EXPECT_TRUE(queue().wait(1s));
  EXPECT_EQ(thief.looks(), 10);
  const auto completion = queue().poll();
  ASSERT_TRUE(completion);
  EXPECT_FALSE(completion->error);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), disk().bytes.begin()));
}

// HD-30: many more requests than slots in the ring; each completes once.
TEST_F(BlkTest, QueuesWhatTheRingHasNoRoomFor) {
  disk().queue_sizes = {8};
  open();
  disk().held = true;
  std::vector<std::vector<std::byte>> targets(500, std::vector<std::byte>(512));
  for (std::size_t i = 0; i < targets.size(); i++) {
    disk().bytes[(i * 512) + 7] = std::byte(i & 0xff);
    MUST(
        queue().submit({.op = BlkOp::kRead, .offset = i * 512, .target = targets[i], .cookie = i}));
  }
  queue().kick();
  std::set<std::uint64_t> cookies;
  for (int rounds = 0; rounds < 1000 && cookies.size() < targets.size(); rounds++) {
    disk().serve(static_cast<std::size_t>(1 + (rounds % 3)));
    for (const BlkCompletion& completion : drain()) {
      EXPECT_FALSE(completion.error);
      EXPECT_TRUE(cookies.insert(completion.cookie).second);
    }
  }
  EXPECT_EQ(cookies.size(), targets.size());
  EXPECT_GT(blk().stats().ring_full, 0U);
  for (std::size_t i = 0; i < targets.size(); i++)
    EXPECT_EQ(targets[i][7], std::byte(i & 0xff));
}

TEST_F(BlkTest, TakesOnlySoManyRequests) {
  options_.requests_max = 2;
  open();
  disk().held = true;
  std::vector<std::byte> target(512);
  const BlkRequest request{.op = BlkOp::kRead, .target = target};
  MUST(queue().submit(request));
  MUST(queue().submit(request));
  EXPECT_EQ(queue().submit(request).error().code, Errc::kQueueFull);
  queue().kick();
  disk().serve();
  EXPECT_EQ(drain().size(), 2U);
  EXPECT_TRUE(queue().submit(request).has_value());
}

TEST_F(BlkTest, RingsOneDoorbellForManyRequests) {
  open();
  std::vector<std::byte> target(512);
  for (int i = 0; i < 8; i++)
    MUST(queue().submit({.op = BlkOp::kRead, .target = target}));
  EXPECT_EQ(disk().served(), 0U);
  queue().kick();
  EXPECT_EQ(disk().served(), 8U);
  EXPECT_EQ(blk().stats().notifications, 1U);
}

// A doorbell for each completion that is handed out would be one for each request. None is
// forgotten: who runs out of completions shows all.
TEST_F(BlkTest, ShowsInBatchesWhatIsSubmittedBetweenCompletions) {
  open();
  std::vector<std::byte> target(512);
  const auto submit = [&](int count) {
    for (int i = 0; i < count; i++)
      MUST(queue().submit({.op = BlkOp::kRead, .target = target}));
  };
  submit(12);
  queue().kick();
  EXPECT_TRUE(queue().poll());
  submit(1);
  EXPECT_TRUE(queue().poll());
  EXPECT_EQ(disk().served(), 12U);
  submit(7);
  EXPECT_TRUE(queue().poll());
  EXPECT_EQ(disk().served(), 20U);
  submit(1);
  EXPECT_EQ(drain().size(), 21U - 3U);
  EXPECT_EQ(disk().served(), 21U);
  EXPECT_EQ(blk().stats().notifications, 3U);
}

TEST_F(BlkTest, BlockingCallLeavesOtherCompletionsAlone) {
  open();
  std::vector<std::byte> target(512);
  MUST(queue().submit({.op = BlkOp::kRead, .target = target, .cookie = 5}));
  EXPECT_TRUE(blk().flush());
  const auto all = drain();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].cookie, 5U);
}

TEST_F(BlkTest, ValidatesRequestsBeforeAnythingMoves) {
  disk().own_features |= spec::feature(spec::VIRTIO_BLK_F_BLK_SIZE);
  disk().config.blk_size.set(4096);
  open();
  std::vector<std::byte> target(8192);
  const auto error = [&](std::uint64_t offset, std::size_t length) {
    return blk().read(offset, std::span(target).first(length)).error().code;
  };
  EXPECT_EQ(error(512, 4096), Errc::kNotAligned);
  EXPECT_EQ(error(0, 512), Errc::kNotAligned);
  EXPECT_EQ(error(0, 0), Errc::kBadLength);
  EXPECT_EQ(error(1 << 20, 4096), Errc::kOutOfRange);
  EXPECT_EQ(error((1 << 20) - 4096, 8192), Errc::kOutOfRange);
  EXPECT_EQ(error(~std::uint64_t{4095}, 4096), Errc::kOutOfRange);
  EXPECT_TRUE(blk().read((1 << 20) - 4096, std::span(target).first(4096)));
  EXPECT_EQ(blk().discard(0, 4096).error().code, Errc::kNotSupportedByDevice);
  EXPECT_EQ(blk().write_zeroes(0, 4096).error().code, Errc::kNotSupportedByDevice);
  EXPECT_EQ(disk().served(), 1U);
}

TEST_F(BlkTest, DiscardsAndZeroesInPieces) {
  disk().own_features |=
      spec::feature(spec::VIRTIO_BLK_F_DISCARD) | spec::feature(spec::VIRTIO_BLK_F_WRITE_ZEROES);
  disk().config.max_discard_sectors.set(8);
  disk().config.max_discard_seg.set(1);
  disk().config.max_write_zeroes_sectors.set(16);
  disk().config.max_write_zeroes_seg.set(1);
  disk().bytes = testing::pattern(1 << 20);
  open();
  EXPECT_TRUE(blk().discard(4096, 10240));
  EXPECT_EQ(disk().served(), 3U);
  EXPECT_TRUE(blk().write_zeroes(65536, 10240));
  EXPECT_EQ(disk().served(), 5U);
  const auto zero = [](std::byte b) { return b == std::byte{0}; };
  const auto from = disk().bytes.begin();
  EXPECT_TRUE(std::all_of(from + 4096, from + 4096 + 10240, zero));
  EXPECT_TRUE(std::all_of(from + 65536, from + 65536 + 10240, zero));
  EXPECT_EQ(disk().bytes[4095], testing::pattern(1 << 20)[4095]);
  EXPECT_EQ(disk().bytes[4096 + 10240], testing::pattern(1 << 20)[4096 + 10240]);
}

TEST_F(BlkTest, ReadOnlyDiskTakesNoWrites) {
  disk().own_features |= spec::feature(spec::VIRTIO_BLK_F_RO);
  open();
  EXPECT_EQ(blk().write(0, testing::pattern(512)).error().code, Errc::kReadOnly);
  std::vector<std::byte> target(512);
  EXPECT_TRUE(blk().read(0, target));
  EXPECT_TRUE(blk().flush());
}

// VIRTIO 1.3, 5.2.6.1: no FLUSH request to a device that did not offer it.
TEST_F(BlkTest, FlushNeedsNoDeviceThatWritesThrough) {
  disk().own_features = 0;
  open();
  EXPECT_TRUE(blk().flush());
  EXPECT_EQ(disk().served(), 0U);
}

TEST_F(BlkTest, WorksByOffset) {
  testing::FakeDiskDevice other({.negotiation = {.offer = pci::AddressOffer::kOffset}});
  const auto blk =
      MUST(Blk::open(std::make_unique<testing::FakeTransport>(other.device(), other.memfd, lies_,
                                                              testing::FakeTransport::Options{}),
                     {}));
  const auto bytes = testing::pattern(8192);
  EXPECT_TRUE(blk->write(0, bytes));
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), other.disk.bytes.begin()));
}

TEST_F(BlkTest, HasAsManyQueuesAsBothSidesWant) {
  disk().own_features |= spec::feature(spec::VIRTIO_BLK_F_MQ);
  disk().config.num_queues.set(3);
  disk().queue_sizes = {16, 16, 16};
  options_.queues = 8;
  open();
  ASSERT_EQ(blk().queue_count(), 3U);
  for (std::size_t i = 0; i < 3; i++) {
    EXPECT_TRUE(blk().queue(i).run(
        {.op = BlkOp::kWrite, .offset = i * 512, .source = testing::pattern(512)}));
  }
  EXPECT_EQ(blk().stats().requests, 3U);
}

// The device answers from another thread, while the driver sleeps.
TEST_F(BlkTest, SleepsUntilTheInterrupt) {
  options_.spin = 0us;
  open();
  disk().held = true;
  std::vector<std::byte> target(512);
  MUST(queue().submit({.op = BlkOp::kRead, .target = target}));
  queue().kick();
  EXPECT_EQ(queue().wait(5ms).error().code, Errc::kTimeout);
  EXPECT_GT(blk().stats().sleeps, 0U);
  EXPECT_EQ(blk().stats().interrupts, 0U);
  // Not before the driver has looked for the last time: an answer that it sees needs no interrupt.
  std::jthread device([this, before = blk().stats().sleeps] {
    while (blk().stats().sleeps == before)
      std::this_thread::yield();
    disk().serve();
  });
  EXPECT_TRUE(queue().wait(5s));
  EXPECT_EQ(blk().stats().interrupts, 1U);
  EXPECT_FALSE(queue().poll()->error);
  EXPECT_EQ(queue().wait(5ms).error().code, Errc::kWrongState);
}

// Answers a request when its driver has made up its mind to sleep.
class LastMoment final : public shm::AccessObserver {
 public:
  explicit LastMoment(testing::FakeDisk& disk) : disk_(disk) {}

  void before_access(const shm::Access& access) override {
    if (access.kind != shm::Access::Kind::kStore || served_) return;
    served_ = true;  // the driver asks for an interrupt
    disk_.serve();
  }
  [[nodiscard]] bool served() const { return served_; }

 private:
  testing::FakeDisk& disk_;
  bool served_ = false;
};

// Answers a request at the 100th look at the ring.
class SlowDevice final : public shm::AccessObserver {
 public:
  explicit SlowDevice(testing::FakeDisk& disk) : disk_(disk) {}

  void before_access(const shm::Access& /*access*/) override {
    if (++looks_ == 100) disk_.serve();
  }

 private:
  testing::FakeDisk& disk_;
  int looks_ = 0;
};

TEST_F(BlkTest, LooksAtTheRingBeforeItSleeps) {
  options_.spin = 24h;
  open();
  disk().held = true;
  std::vector<std::byte> target(512);
  MUST(queue().submit({.op = BlkOp::kRead, .target = target}));
  SlowDevice device(disk());
  const shm::ScopedAccessHook hook(&device);
  EXPECT_TRUE(queue().wait(60s));
  EXPECT_EQ(blk().stats().sleeps, 0U);
  EXPECT_FALSE(blk().device().transport().take_interrupt(1));
}

// However long it may look: the deadline ends that too (HD-19).
TEST_F(BlkTest, LooksNoLongerThanItsDeadline) {
  options_.spin = 24h;
  open();
  disk().held = true;
  std::vector<std::byte> target(512);
  MUST(queue().submit({.op = BlkOp::kRead, .target = target}));
  EXPECT_EQ(queue().wait(5ms).error().code, Errc::kTimeout);
  EXPECT_EQ(blk().stats().sleeps, 0U);
}

// What came just before it went to sleep leaves nothing behind: neither a wish for interrupts,
// which each cost the device time, nor one that ends the next sleep at once.
TEST_F(BlkTest, WantsNoMoreInterruptsWhenItDidNotSleep) {
  options_.spin = 0us;
  open();
  disk().held = true;
  std::vector<std::byte> target(512);
  MUST(queue().submit({.op = BlkOp::kRead, .target = target}));
  queue().kick();
  {
    LastMoment device(disk());
    const shm::ScopedAccessHook hook(&device);
    EXPECT_TRUE(queue().wait(1s));
    EXPECT_TRUE(device.served());
  }
  EXPECT_EQ(blk().stats().sleeps, 0U);
  EXPECT_TRUE(queue().poll().has_value());
  EXPECT_EQ(disk().raw(0).avail_flags(), spec::VIRTQ_AVAIL_F_NO_INTERRUPT);
  EXPECT_FALSE(blk().device().transport().take_interrupt(1));
}

// One thread's news is all threads' news: the others, asleep over queues of their own, hear of a
// broken device at once (HD-23), and not when they have waited for long enough (HD-19).
TEST_F(BlkTest, WakesEveryQueueWhenTheDeviceIsBroken) {
  disk().own_features |= spec::feature(spec::VIRTIO_BLK_F_MQ);
  disk().config.num_queues.set(2);
  disk().queue_sizes = {16, 16};
  options_.queues = 2;
  options_.spin = 0us;
  open();
  disk().held = true;
  std::vector<std::byte> target(512);
  BlkQueue& other = blk().queue(1);
  MUST(other.submit({.op = BlkOp::kRead, .target = target}));
  other.kick();
  std::jthread sleeper([&] { EXPECT_TRUE(other.wait(24h)); });
  while (blk().stats().sleeps == 0)
    std::this_thread::yield();
  (void)blk().device().fail_device({.code = Errc::kNeedsReset});
  sleeper.join();
  const auto completion = other.poll();
  ASSERT_TRUE(completion);
  EXPECT_EQ(completion->error->code, Errc::kNeedsReset);
}

// For ThreadSanitizer: whoever shows the numbers is no thread of a queue.
TEST_F(BlkTest, CountsWhatOtherThreadsMayReadAtAnyTime) {
  open();
  std::atomic<bool> done = false;
  std::jthread reader([&] {
    for (std::uint64_t before = 0; !done;) {
      const std::uint64_t now = blk().stats().requests;
      EXPECT_GE(now, before);
      before = now;
    }
  });
  std::vector<std::byte> target(512);
  for (int i = 0; i < 1000; i++)
    EXPECT_TRUE(blk().read(0, target));
  done = true;
  reader.join();
  EXPECT_EQ(blk().stats().requests, 1000U);
}

TEST_F(BlkTest, WorksWithoutInterrupts) {
  interrupts_ = false;
  options_.spin = 0us;
  open();
  EXPECT_EQ(queue().interrupt_fd(), -1);
  disk().held = true;
  std::vector<std::byte> target(512);
  MUST(queue().submit({.op = BlkOp::kRead, .target = target}));
  queue().kick();
  std::jthread device([this] { disk().serve(); });
  EXPECT_TRUE(queue().wait(5s));
}

TEST_F(BlkTest, SuitsAnEventLoop) {
  open();
  disk().held = true;
  std::vector<std::byte> target(512);
  MUST(queue().submit({.op = BlkOp::kRead, .target = target}));
  EXPECT_FALSE(queue().arm());
  EXPECT_GE(queue().interrupt_fd(), 0);
  disk().serve();
  EXPECT_TRUE(blk().device().transport().take_interrupt(1));
  EXPECT_TRUE(queue().poll().has_value());
}

}  // namespace
}  // namespace airlock::driver
