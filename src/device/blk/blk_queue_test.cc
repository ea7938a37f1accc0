// SPDX-License-Identifier: Apache-2.0
// A queue between a driver that writes its ring by hand and a scripted disk.
#include "device/blk/blk_queue.h"

#include <sys/eventfd.h>

#include <gtest/gtest.h>

#include "device/blk/blk_device.h"
#include "spec/virtio.h"
#include "testing/blk_driver.h"
#include "testing/fake_backend.h"

namespace airlock::device {
namespace {

using backend::BlockOp;
using testing::BlkDriver;
using testing::BuiltChain;
using testing::ChainBuilder;
using testing::FakeBackend;
using testing::FakeStorage;
using testing::filled;

constexpr std::uint16_t kSlots = 64;
constexpr std::uint8_t kNotAnswered = 0xee;

class BlkQueueTest : public ::testing::Test {
 protected:
  void SetUp() override { open(device_->features()); }

  void open(std::uint64_t features, window::Reach reach = window::Reach::kRegion) {
    task_.reset();
    const ring::QueueConfig& config = driver_.ring().config();
    QueueContext context;
    context.negotiated.features = features;
    context.negotiated.reach = reach;
    context.setup = {.index = 0,
                     .size = kSlots,
                     .descriptor_area = config.areas.descriptors,
                     .driver_area = config.areas.driver,
                     .device_area = config.areas.device};
    context.window = &driver_.region().window();
    context.interrupt = [this] { ++interrupts_; };
    task_ = MUST(device_->make_queue(context));
  }
  void open_without(unsigned bit) { open(device_->features() & ~spec::feature(bit)); }

  void poll_until_idle() {
    while (MUST(task_->poll())) {
    }
  }
  /// One request; its status. The used element is exact: the head, and all of the writable part.
  std::uint8_t serve(const BuiltChain& chain) {
    poll_until_idle();
    const auto used = driver_.ring().take_used();
    EXPECT_TRUE(used.has_value());
    if (!used) return kNotAnswered;
    EXPECT_EQ(used->id, chain.head());
    EXPECT_EQ(used->length, chain.written().size());
    EXPECT_EQ(task_->in_flight(), 0U);
    return BlkDriver::status(chain);
  }
  /// Of a driver who goes on, sooner or later: one interrupt is counted, and one is owed.
  void hold_an_interrupt() {
    for (int before = -1; before != interrupts_;) {
      before = interrupts_;
      serve(driver_.read(0, 512));
    }
    interrupts_ = 1;
  }
  void disk_has(std::uint64_t offset, const std::vector<std::byte>& bytes) const {
    std::ranges::copy(bytes, disk_->bytes.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  [[nodiscard]] std::vector<std::byte> on_disk(std::uint64_t offset, std::size_t count) const {
    const auto first = disk_->bytes.begin() + static_cast<std::ptrdiff_t>(offset);
    return {first, first + static_cast<std::ptrdiff_t>(count)};
  }

  BlkDriver driver_{kSlots};
  std::shared_ptr<FakeStorage> disk_ = std::make_shared<FakeStorage>();
  std::unique_ptr<BlkDevice> device_ =
      MUST(BlkDevice::create({.backend = std::make_unique<FakeBackend>(disk_),
                              .shape = {.queues = 1, .queue_size = kSlots},
                              .id = "disk-of-a-test",
                              .ring_features = 0}));
  int interrupts_ = 0;
  std::unique_ptr<QueueTask> task_;
};

TEST_F(BlkQueueTest, Reads) {
  disk_has(1024, filled(512, 0xab));
  const BuiltChain chain = driver_.read(2, 512);
  EXPECT_EQ(serve(chain), spec::VIRTIO_BLK_S_OK);
  EXPECT_EQ(BlkDriver::data(chain), filled(512, 0xab));
  EXPECT_EQ(device_->counts(0), (BlkCounts{.reads = 1, .read_bytes = 512}));
}

TEST_F(BlkQueueTest, ReadsIntoScatteredBuffers) {
  disk_has(0, filled(1024, 0xcd));
  const BuiltChain chain = ChainBuilder(driver_.ring())
                               .readable_struct(BlkDriver::header(spec::VIRTIO_BLK_T_IN))
                               .writable(1)
                               .writable(700)
                               .writable(324)  // its last byte is the status
                               .submit();
  EXPECT_EQ(serve(chain), spec::VIRTIO_BLK_S_OK);
  EXPECT_EQ(BlkDriver::data(chain), filled(1024, 0xcd));
}

TEST_F(BlkQueueTest, Writes) {
  EXPECT_EQ(serve(driver_.write(4, filled(1024, 0x11))), spec::VIRTIO_BLK_S_OK);
  EXPECT_EQ(on_disk(2048, 1024), filled(1024, 0x11));
  EXPECT_EQ(on_disk(3072, 512), filled(512, 0));
  EXPECT_EQ(device_->counts(), (BlkCounts{.writes = 1, .written_bytes = 1024}));
}

TEST_F(BlkQueueTest, Flushes) {
  EXPECT_EQ(serve(driver_.flush()), spec::VIRTIO_BLK_S_OK);
  ASSERT_EQ(disk_->seen.size(), 1U);
  EXPECT_EQ(disk_->seen[0].op, BlockOp::kFlush);
}

// 5.2.6.2: completed is stable for a driver that was offered FLUSH and declined it.
TEST_F(BlkQueueTest, WritesAreDurableForADriverWithoutFlush) {
  serve(driver_.write(0, filled(512, 1)));
  EXPECT_FALSE(disk_->seen.back().durable);
  driver_.ring() = testing::FakeDriver(driver_.region(), kSlots);
  open_without(spec::VIRTIO_BLK_F_FLUSH);
  EXPECT_EQ(serve(driver_.write(0, filled(512, 1))), spec::VIRTIO_BLK_S_OK);
  EXPECT_TRUE(disk_->seen.back().durable);
  serve(driver_.ranges(spec::VIRTIO_BLK_T_WRITE_ZEROES, {BlkDriver::range(0, 1)}));
  EXPECT_TRUE(disk_->seen.back().durable);
  serve(driver_.read(0, 512));
  EXPECT_FALSE(disk_->seen.back().durable);
  EXPECT_EQ(serve(driver_.flush()), spec::VIRTIO_BLK_S_UNSUPP);
}

TEST_F(BlkQueueTest, TellsItsId) {
  const BuiltChain chain = driver_.get_id();
  EXPECT_EQ(serve(chain), spec::VIRTIO_BLK_S_OK);
  std::vector<std::byte> expected(20);
  std::memcpy(expected.data(), "disk-of-a-test", 14);
  EXPECT_EQ(BlkDriver::data(chain), expected);
  EXPECT_TRUE(disk_->seen.empty());
}

TEST_F(BlkQueueTest, DiscardsRangeByRange) {
  disk_has(0, filled(32768, 9));
  EXPECT_EQ(serve(driver_.ranges(
                spec::VIRTIO_BLK_T_DISCARD,
                {BlkDriver::range(0, 1), BlkDriver::range(7, 0), BlkDriver::range(10, 2)})),
            spec::VIRTIO_BLK_S_OK);
  ASSERT_EQ(disk_->seen.size(), 2U);  // the empty range is nothing to do
  EXPECT_EQ(disk_->seen[1].offset, 10U * 512);
  EXPECT_EQ(on_disk(0, 512), filled(512, 0));
  EXPECT_EQ(on_disk(512, 512), filled(512, 9));
  EXPECT_EQ(on_disk(5120, 1024), filled(1024, 0));
  EXPECT_EQ(device_->counts(), (BlkCounts{.discards = 1}));
}

TEST_F(BlkQueueTest, WriteZeroesSaysWhatMayBeUnmapped) {
  EXPECT_EQ(serve(driver_.ranges(spec::VIRTIO_BLK_T_WRITE_ZEROES,
                                 {BlkDriver::range(0, 1, spec::VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP),
                                  BlkDriver::range(1, 1)})),
            spec::VIRTIO_BLK_S_OK);
  ASSERT_EQ(disk_->seen.size(), 2U);
  EXPECT_TRUE(disk_->seen[0].may_unmap);
  EXPECT_FALSE(disk_->seen[1].may_unmap);
}

TEST_F(BlkQueueTest, AFailedRangeEndsTheRequest) {
  disk_->errors = {ENOSPC};
  EXPECT_EQ(serve(driver_.ranges(spec::VIRTIO_BLK_T_WRITE_ZEROES,
                                 {BlkDriver::range(0, 1), BlkDriver::range(1, 1)})),
            spec::VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(disk_->seen.size(), 1U);
}

TEST_F(BlkQueueTest, ABadRangeStopsTheWholeRequestBeforeItStarts) {
  EXPECT_EQ(serve(driver_.ranges(spec::VIRTIO_BLK_T_DISCARD,
                                 {BlkDriver::range(0, 1), BlkDriver::range(64, 1)})),
            spec::VIRTIO_BLK_S_IOERR);
  EXPECT_TRUE(disk_->seen.empty());
  EXPECT_EQ(device_->counts(), (BlkCounts{.refused = 1}));
}

TEST_F(BlkQueueTest, AnIoErrorIsAnswered_AndTheQueueGoesOn) {
  disk_->errors = {EIO, ENOSPC};
  EXPECT_EQ(serve(driver_.read(0, 512)), spec::VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(serve(driver_.write(0, filled(512, 1))), spec::VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(serve(driver_.write(0, filled(512, 1))), spec::VIRTIO_BLK_S_OK);
  EXPECT_EQ(device_->counts().io_errors, 2U);
  EXPECT_EQ(device_->counts().written_bytes, 512U);
}

TEST_F(BlkQueueTest, AChannelThatRefusesIsAnIoError) {
  disk_->submit_errors = {system_error(ENXIO), Error{.code = Errc::kPeerClosed}};
  EXPECT_EQ(serve(driver_.read(0, 512)), spec::VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(serve(driver_.read(0, 512)), spec::VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(serve(driver_.read(0, 512)), spec::VIRTIO_BLK_S_OK);
}

// The used length covers everything before the status: nothing older may show there.
TEST_F(BlkQueueTest, WhatAFailedReadDidNotFillIsZero) {
  disk_->errors = {EIO};
  const BuiltChain chain = driver_.read(0, 1024);
  driver_.region().bytes().copy_in(std::to_underlying(chain.pieces()[1].offset),
                                   filled(1024, 0x77));
  EXPECT_EQ(serve(chain), spec::VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(BlkDriver::data(chain), filled(1024, 0));

  const BuiltChain refused = driver_.read(64, 512);
  driver_.region().bytes().copy_in(std::to_underlying(refused.pieces()[1].offset),
                                   filled(512, 0x77));
  EXPECT_EQ(serve(refused), spec::VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(BlkDriver::data(refused), filled(512, 0));
}

// 5.2.6.2: on a read-only device a write is an IOERR, and nothing is written.
TEST_F(BlkQueueTest, ReadOnlyDisksAreNotWritten) {
  disk_->geometry.read_only = true;
  device_ = MUST(BlkDevice::create({.backend = std::make_unique<FakeBackend>(disk_),
                                    .shape = {.queues = 1, .queue_size = kSlots},
                                    .ring_features = 0}));
  open(device_->features());
  EXPECT_EQ(serve(driver_.write(0, filled(512, 1))), spec::VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(serve(driver_.ranges(spec::VIRTIO_BLK_T_DISCARD, {BlkDriver::range(0, 1)})),
            spec::VIRTIO_BLK_S_UNSUPP);
  EXPECT_TRUE(disk_->seen.empty());
}

TEST_F(BlkQueueTest, TheHeaderIsReadOnce) {
  disk_->hold = true;
  const BuiltChain chain = driver_.read(1, 512);
  disk_has(512, filled(512, 1));
  disk_has(1024, filled(512, 2));
  EXPECT_TRUE(MUST(task_->poll()));
  // While the request is in flight, the driver makes it another.
  driver_.region().bytes().put(std::to_underlying(chain.pieces()[0].offset),
                               BlkDriver::header(spec::VIRTIO_BLK_T_OUT, 2));
  disk_->finish(1);
  EXPECT_EQ(serve(chain), spec::VIRTIO_BLK_S_OK);
  EXPECT_EQ(BlkDriver::data(chain), filled(512, 1));
  EXPECT_EQ(on_disk(1024, 512), filled(512, 2));
}

TEST_F(BlkQueueTest, FinishesInAnyOrder) {
  disk_->hold = disk_->reversed = true;
  const BuiltChain first = driver_.read(0, 512);
  const BuiltChain second = driver_.read(1, 512);
  EXPECT_TRUE(MUST(task_->poll()));
  EXPECT_EQ(task_->in_flight(), 2U);
  EXPECT_FALSE(MUST(task_->poll()));
  disk_->finish(2);
  poll_until_idle();
  EXPECT_EQ(driver_.ring().take_used()->id, second.head());
  EXPECT_EQ(driver_.ring().take_used()->id, first.head());
  EXPECT_EQ(task_->in_flight(), 0U);
}

TEST_F(BlkQueueTest, WaitsForRoomInTheChannelAndKeepsTheOrder) {
  disk_->room = 2;
  disk_->hold = true;
  std::vector<BuiltChain> chains;
  for (std::uint64_t sector = 0; sector < 7; ++sector) {
    chains.push_back(driver_.read(sector, 512));
  }
  EXPECT_TRUE(MUST(task_->poll()));
  EXPECT_EQ(task_->in_flight(), 7U);
  EXPECT_EQ(disk_->seen.size(), 2U);
  EXPECT_GT(device_->counts().waits, 0U);
  for (int round = 0; round < 7; ++round) {
    disk_->finish(1);
    EXPECT_TRUE(MUST(task_->poll()));
  }
  ASSERT_EQ(disk_->seen.size(), 7U);
  for (std::uint64_t sector = 0; sector < 7; ++sector) {
    EXPECT_EQ(disk_->seen[sector].offset, sector * 512);
    EXPECT_EQ(driver_.ring().take_used()->id, chains[sector].head());
  }
  EXPECT_EQ(task_->in_flight(), 0U);
}

TEST_F(BlkQueueTest, InterruptsOnceABatchAndOnlyIfWanted) {
  driver_.read(0, 512);
  driver_.read(1, 512);
  poll_until_idle();
  EXPECT_EQ(interrupts_, 1);
  driver_.ring().set_avail_flags(spec::VIRTQ_AVAIL_F_NO_INTERRUPT);
  driver_.read(0, 512);
  poll_until_idle();
  EXPECT_EQ(interrupts_, 1);
  EXPECT_FALSE(MUST(task_->poll()));  // and nothing without anything used
  EXPECT_EQ(interrupts_, 1);
}

TEST_F(BlkQueueTest, HoldsAnInterruptBackForOneMoreAnswer) {
  hold_an_interrupt();
  task_->idle_for(std::chrono::nanoseconds(1));
  EXPECT_EQ(interrupts_, 1);
  task_->idle_for(std::chrono::nanoseconds::max());
  EXPECT_EQ(interrupts_, 2);
  task_->idle_for(std::chrono::nanoseconds::max());
  EXPECT_EQ(interrupts_, 2);
}

// Of two requests one is always on its way: its answer will come whatever the driver does.
TEST_F(BlkQueueTest, HoldsNoInterruptBackWhileTheDiskIsAtWork) {
  disk_->hold = true;
  driver_.read(0, 512);
  for (int i = 1; i <= 300; ++i) {
    driver_.read(1, 512);
    EXPECT_TRUE(MUST(task_->poll()));
    disk_->finish(1);
    EXPECT_TRUE(MUST(task_->poll()));
    EXPECT_EQ(interrupts_, i);
  }
}

TEST_F(BlkQueueTest, ARequestThatTakesTimeEndsTheWaitForCompany) {
  hold_an_interrupt();
  disk_->hold = true;
  driver_.read(0, 512);
  EXPECT_TRUE(MUST(task_->poll()));
  EXPECT_EQ(interrupts_, 2);
}

TEST_F(BlkQueueTest, FurtherAnswersBringTheInterruptHeldBack) {
  hold_an_interrupt();
  for (int i = 0; i < 3; ++i)
    serve(driver_.read(0, 512));
  EXPECT_EQ(interrupts_, 2);
}

TEST_F(BlkQueueTest, ComingToRestHoldsNoInterruptBack) {
  hold_an_interrupt();
  task_->drain(false);
  EXPECT_EQ(interrupts_, 2);
}

TEST_F(BlkQueueTest, BreakingHoldsNoInterruptBack) {
  hold_an_interrupt();
  driver_.ring().set_avail_index(static_cast<std::uint16_t>(driver_.ring().avail_index() + 1000));
  EXPECT_FALSE(task_->poll());
  EXPECT_EQ(interrupts_, 2);
}

// VIRTIO 1.3, 2.4.1: after a reset there is nobody to interrupt.
TEST_F(BlkQueueTest, AnInterruptHeldBackIsForgottenWithTheRing) {
  hold_an_interrupt();
  task_->drain(true);
  EXPECT_EQ(interrupts_, 1);
}

TEST_F(BlkQueueTest, SparesAndAsksForNotifications) {
  task_->want_notifications(false);
  EXPECT_EQ(driver_.ring().used_flags(), spec::VIRTQ_USED_F_NO_NOTIFY);
  task_->want_notifications(true);
  EXPECT_EQ(driver_.ring().used_flags(), 0);
}

// What has no data, or is refused, is nothing to wait for.
TEST_F(BlkQueueTest, SaysWhichTransferComesNext) {
  driver_.read(0, 512);
  driver_.write(2, filled(1024, 1));
  driver_.flush();
  driver_.read(FakeStorage::kBytes / 512, 512);  // past the end
  driver_.read(4, 512);
  poll_until_idle();
  ASSERT_EQ(disk_->expected.size(), 2U);
  EXPECT_EQ(disk_->expected[0].op, BlockOp::kWrite);
  EXPECT_EQ(disk_->expected[0].offset, 1024U);
  EXPECT_EQ(disk_->expected[0].length, 1024U);
  EXPECT_EQ(disk_->expected[1].op, BlockOp::kRead);
  EXPECT_EQ(disk_->expected[1].offset, 2048U);
  EXPECT_EQ(disk_->seen.size(), 4U);
}

TEST_F(BlkQueueTest, AChainWithoutAStatusByteBreaksTheQueue) {
  const BuiltChain good = driver_.read(0, 512);
  ChainBuilder(driver_.ring())
      .readable_struct(BlkDriver::header(spec::VIRTIO_BLK_T_FLUSH))
      .submit();
  const auto broken = task_->poll();
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().code, Errc::kTooSmall);
  EXPECT_EQ(broken.error().queue, 0);
  EXPECT_EQ(BlkDriver::status(good), spec::VIRTIO_BLK_S_OK);  // what came before is answered
  EXPECT_EQ(task_->poll().error().code, Errc::kQueueBroken);
  task_->drain(true);
  EXPECT_EQ(task_->in_flight(), 0U);
  // The ring has that chain in flight for ever: it can't be found again.
  EXPECT_EQ(task_->rebind().error().code, Errc::kQueueBroken);
}

TEST_F(BlkQueueTest, AQueueDrainedToDiscardIsNotUsedAgain) {
  disk_->hold = true;
  driver_.read(0, 512);
  EXPECT_TRUE(MUST(task_->poll()));
  task_->drain(true);
  disk_->finish(1);
  task_->drain(false);  // does not make the ring ours again
  EXPECT_EQ(task_->in_flight(), 0U);
  EXPECT_FALSE(driver_.ring().take_used());
  EXPECT_EQ(interrupts_, 0);
  EXPECT_EQ(task_->rebind().error().code, Errc::kQueueBroken);
  EXPECT_EQ(task_->poll().error().code, Errc::kQueueBroken);
}

// Buffers that overlap: a few descriptors, and any amount of bytes to fill.
class BlkQueueOverlapTest : public BlkQueueTest {
 protected:
  static constexpr std::uint32_t kRegionBytes = 1U << 20;  // of a TestRegion
  static constexpr std::uint32_t kPieceBytes = 1U << 18;
  /// A request of an unknown type: all of its writable part is filled with zeros.
  BuiltChain overlapping(int pieces, std::uint32_t piece = kPieceBytes) {
    ChainBuilder builder(driver_.ring());
    builder.readable_struct(BlkDriver::header(0x7777));
    for (int i = 0; i < pieces; ++i) {
      builder.raw(driver_.ring().address(scratch_), piece, true);
    }
    return builder.writable(1).submit();
  }
  std::uint32_t serve_all() {
    std::uint32_t answered = 0;
    while (driver_.ring().take_used())
      ++answered;
    return answered;
  }

  window::RegionOffset scratch_ = driver_.region().allocate(kPieceBytes);
};

TEST_F(BlkQueueOverlapTest, AChainOfMoreThanTheRegionBreaksTheQueue) {
  ASSERT_EQ(driver_.region().bytes().size(), kRegionBytes);
  overlapping(4);  // the region, and a header and a status beyond it
  const auto broken = task_->poll();
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().code, Errc::kChainTooBig);
  EXPECT_EQ(broken.error().queue, 0);
  EXPECT_EQ(serve_all(), 0U);
  task_->drain(true);
  EXPECT_EQ(task_->in_flight(), 0U);
  EXPECT_EQ(task_->rebind().error().code, Errc::kQueueBroken);
}

TEST_F(BlkQueueOverlapTest, AChainOfLessIsAnswered) {
  EXPECT_EQ(serve(overlapping(1)), spec::VIRTIO_BLK_S_UNSUPP);
  overlapping(3);
  poll_until_idle();
  EXPECT_EQ(serve_all(), 1U);
}

TEST_F(BlkQueueOverlapTest, WithGuestMemoryAChainMayBeMoreThanTheRegion) {
  open(device_->features(), window::Reach::kRegionAndGuest);
  overlapping(4);
  poll_until_idle();
  EXPECT_EQ(serve_all(), 1U);
}

TEST_F(BlkQueueOverlapTest, RefusedRequestsCountForTheBatchWithAllOfTheirBytes) {
  for (int i = 0; i < 3; ++i) {
    overlapping(3);
  }
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(MUST(task_->poll()));
    EXPECT_EQ(serve_all(), 1U);  // 0.75 MiB fill it
  }
}

TEST_F(BlkQueueTest, ChainsWaitInTheRingWhileTooMuchIsInFlight) {
  // Each describes 16 MiB, most of it the same buffer over and over: four are all that may be out.
  constexpr std::uint32_t kBytes = 1U << 20;
  disk_->geometry.capacity_bytes = std::uint64_t{1} << 30;
  testing::TestRegion region({.size = std::uint64_t{32} << 20});
  window::Window& window = region.window();
  testing::FakeDriver driver(region, 256);
  device_ = MUST(BlkDevice::create({.backend = std::make_unique<FakeBackend>(disk_),
                                    .shape = {.queues = 1, .queue_size = 256},
                                    .ring_features = 0}));
  const ring::QueueAreas& areas = driver.config().areas;
  QueueContext context;
  context.negotiated = {.features = device_->features(), .reach = window.reach()};
  context.setup = {.size = 256,
                   .descriptor_area = areas.descriptors,
                   .driver_area = areas.driver,
                   .device_area = areas.device};
  context.window = &window;
  const auto task = MUST(device_->make_queue(context));
  const window::RegionOffset scratch = region.allocate(kBytes);
  disk_->hold = true;
  disk_->errors.assign(8, EIO);
  for (int i = 0; i < 6; ++i) {
    ChainBuilder builder(driver);
    builder.readable_struct(BlkDriver::header(spec::VIRTIO_BLK_T_OUT));
    for (int piece = 0; piece < 16; ++piece) {
      builder.raw(driver.address(scratch), kBytes, false);
    }
    builder.writable(1).submit();
  }
  for (int i = 0; i < 10; ++i) {
    static_cast<void>(MUST(task->poll()));
  }
  EXPECT_EQ(task->in_flight(), 4U);
  EXPECT_EQ(disk_->seen.size(), 4U);
  disk_->finish(1);
  EXPECT_TRUE(MUST(task->poll()));
  EXPECT_EQ(task->in_flight(), 4U);  // one answered, one more taken
  EXPECT_EQ(disk_->seen.size(), 5U);
  disk_->finish(5);
  while (MUST(task->poll())) {
  }
  EXPECT_EQ(task->in_flight(), 0U);
  EXPECT_EQ(disk_->seen.size(), 6U);
  EXPECT_EQ(driver.used_index(), 6U);
}

TEST_F(BlkQueueTest, ABrokenRingBreaksTheQueueAndDrains) {
  disk_->hold = true;
  driver_.read(0, 512);
  EXPECT_TRUE(MUST(task_->poll()));
  driver_.ring().set_avail_index(static_cast<std::uint16_t>(driver_.ring().avail_index() + 1000));
  const auto broken = task_->poll();
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().code, Errc::kBadIndexJump);
  disk_->finish(1);
  task_->drain(true);
  EXPECT_EQ(task_->in_flight(), 0U);
}

TEST_F(BlkQueueTest, DrainReturnsWhatIsInFlightAndTakesNothingNew) {
  disk_->hold = true;
  disk_->room = 1;
  const BuiltChain first = driver_.read(0, 512);
  const BuiltChain second = driver_.read(1, 512);
  EXPECT_TRUE(MUST(task_->poll()));
  driver_.read(2, 512);
  task_->drain(false);
  EXPECT_EQ(task_->in_flight(), 2U);
  disk_->finish(2);
  task_->drain(false);
  EXPECT_EQ(task_->in_flight(), 0U);
  EXPECT_EQ(driver_.ring().take_used()->id, first.head());
  EXPECT_EQ(driver_.ring().take_used()->id, second.head());
  EXPECT_FALSE(driver_.ring().take_used());
  EXPECT_EQ(interrupts_, 1);
  EXPECT_EQ(disk_->cancels, 0U);  // what is to be answered is to be done
  EXPECT_TRUE(task_->rebind());
}

TEST_F(BlkQueueTest, DrainToDiscardLeavesTheRingAlone) {
  disk_->hold = true;
  disk_->room = 1;
  const BuiltChain in_channel =
      driver_.ranges(spec::VIRTIO_BLK_T_DISCARD, {BlkDriver::range(0, 1), BlkDriver::range(1, 1)});
  driver_.read(1, 512);  // waits for room
  EXPECT_TRUE(MUST(task_->poll()));
  driver_.region().bytes().store_relaxed<std::uint8_t>(
      std::to_underlying(in_channel.pieces().back().offset), kNotAnswered);
  task_->drain(true);
  EXPECT_EQ(task_->in_flight(), 1U);
  disk_->finish(1);
  task_->drain(true);
  EXPECT_EQ(task_->in_flight(), 0U);
  EXPECT_EQ(disk_->seen.size(), 1U);  // the second range was not begun
  EXPECT_EQ(disk_->cancels, 1U);      // once, however often it is drained
  EXPECT_FALSE(driver_.ring().take_used());
  EXPECT_EQ(BlkDriver::status(in_channel), kNotAnswered);
  EXPECT_EQ(interrupts_, 0);
}

TEST_F(BlkQueueTest, FindsItsRingAgainAfterTheMemoryChanged) {
  serve(driver_.flush());
  window::Window& window = driver_.region().window();
  window.configure(window.mode(), window::Reach::kNothing);
  EXPECT_EQ(task_->rebind().error().code, Errc::kAddressOutside);
  window.configure(window.mode(), window::Reach::kRegion);
  ASSERT_TRUE(task_->rebind());
  EXPECT_EQ(serve(driver_.flush()), spec::VIRTIO_BLK_S_OK);
}

TEST_F(BlkQueueTest, ServesManyMoreRequestsThanItHasSlots) {
  for (std::uint64_t i = 0; i < 10UL * kSlots; ++i) {
    const std::uint64_t mark = driver_.region().mark();
    ASSERT_EQ(serve(driver_.write(i % 64, filled(512, static_cast<std::uint8_t>(i)))),
              spec::VIRTIO_BLK_S_OK);
    driver_.region().free_to(mark);
  }
  EXPECT_EQ(device_->counts().writes, 10UL * kSlots);
}

TEST_F(BlkQueueTest, ClosesItsChannel) {
  EXPECT_EQ(disk_->channels_open, 1U);
  task_.reset();
  EXPECT_EQ(disk_->channels_open, 0U);
}

}  // namespace
}  // namespace airlock::device
