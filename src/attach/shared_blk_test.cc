// SPDX-License-Identifier: Apache-2.0
//
// Goal: threads that share one queue each get their own answer, whoever looks after it, and none
// waits for ever. Method: a disk in this process, served by a thread of its own or not at all.
#include "attach/shared_blk.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "spec/virtio_pci.h"
#include "testing/blk_fixture.h"

namespace airlock::attach {
namespace {

using namespace std::chrono_literals;
using driver::BlkOp;

class SharedBlkTest : public testing::BlkFixture {
 protected:
  void share() {
    open();
    shared_ = MUST(SharedBlk::create(std::move(blk_), {.blk = options_, .silence = 10ms}));
    disk().held = true;
  }
  /// Serves requests until the test's part is over.
  template <class Part>
  void with_device(Part&& part) {
    std::atomic<bool> over{false};
    std::jthread device([&] {
      while (!over) {
        disk().serve();
        std::this_thread::yield();
      }
    });
    part();
    over = true;
  }
  void expect_each_gets_its_own();

  std::atomic<bool> gone_{false};  // read until the disk has been closed
  std::unique_ptr<SharedBlk> shared_;
};

// Each thread writes what only it writes, and reads it back.
void SharedBlkTest::expect_each_gets_its_own() {
  constexpr unsigned kThreads = 8;
  constexpr unsigned kRounds = 40;
  constexpr std::uint64_t kBytes = 4096;
  std::atomic<unsigned> good{0};
  with_device([&] {
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < kThreads; i++) {
      threads.emplace_back([&, i] {
        std::vector<std::byte> back(kBytes);
        for (unsigned round = 0; round < kRounds; round++) {
          const auto bytes = testing::pattern(kBytes, (i * kRounds) + round);
          const bool wrote =
              shared_->run(0, {.op = BlkOp::kWrite, .offset = i * kBytes, .source = bytes})
                  .has_value();
          const bool read =
              shared_->run(0, {.op = BlkOp::kRead, .offset = i * kBytes, .target = back})
                  .has_value();
          if (wrote && read && back == bytes) good++;
        }
      });
    }
  });
  EXPECT_EQ(good, kThreads * kRounds);
  EXPECT_FALSE(shared_->broken());
}

TEST_F(SharedBlkTest, EachGetsItsOwnByInterrupts) {
  share();
  expect_each_gets_its_own();
}

TEST_F(SharedBlkTest, EachGetsItsOwnByPolling) {
  interrupts_ = false;
  share();
  expect_each_gets_its_own();
}

// HD-30: a pool that is too small for all of them holds them back, and stops none for good.
TEST_F(SharedBlkTest, EachGetsItsOwnThoughThePoolIsFull) {
  open();
  std::vector<pool::InPlaceBuffer> hogs;
  while (auto hog = blk_->device().pool().allocate(pool::kSlotBytes)) {
    hogs.push_back(std::move(*hog));
  }
  hogs.resize(hogs.size() - 4);
  shared_ = MUST(SharedBlk::create(std::move(blk_), {.blk = options_, .silence = 10ms}));
  disk().held = true;
  expect_each_gets_its_own();
  hogs.clear();
}

TEST_F(SharedBlkTest, AnErrorIsThatOfItsOwnRequest) {
  disk().on_answer = [](const spec::VirtioBlkReqHeader& header, auto& answer) {
    if (header.sector.get() == 8) answer.status = spec::VIRTIO_BLK_S_IOERR;
  };
  share();
  const auto bytes = testing::pattern(512);
  with_device([&] {
    const auto write = [&](std::uint64_t offset) {
      return shared_->run(0, {.op = BlkOp::kWrite, .offset = offset, .source = bytes});
    };
    EXPECT_TRUE(write(0));
    EXPECT_EQ(write(4096).error().code, Errc::kIoError);
    EXPECT_TRUE(write(8192));
    EXPECT_EQ(write(100).error().code, Errc::kNotAligned);
    EXPECT_TRUE(shared_->run(0, {.op = BlkOp::kFlush}));
  });
  EXPECT_FALSE(shared_->broken());
}

// HD-19, HD-23: a device that answers nothing is broken after the timeout, for all who wait and
// for all who come after.
TEST_F(SharedBlkTest, NobodyWaitsForASilentDeviceForEver) {
  for (const bool interrupts : {true, false}) {
    interrupts_ = interrupts;
    options_.timeout = 50ms;
    disk().held = false;
    shared_.reset();
    share();
    std::atomic<int> timed_out{0};
    {
      std::vector<std::jthread> threads;
      for (std::uint64_t i = 0; i < 4; i++) {
        threads.emplace_back([&, i] {
          std::vector<std::byte> bytes(512);
          const auto read =
              shared_->run(0, {.op = BlkOp::kRead, .offset = i * 512, .target = bytes});
          if (!read && read.error().code == Errc::kTimeout) timed_out++;
        });
      }
    }
    EXPECT_EQ(timed_out, 4);
    ASSERT_TRUE(shared_->broken());
    EXPECT_EQ(shared_->run(0, {.op = BlkOp::kFlush}).error(), *shared_->broken());
  }
}

// A device whose registers read as if nobody were there is gone, long before the timeout.
TEST_F(SharedBlkTest, NoticesThatTheDeviceIsGone) {
  options_.timeout = 1h;
  lies_.on_read = [this](const driver::Register& from, std::uint64_t& value) {
    if (gone_ && from.width == driver::Width::k1) value = 0xff;
  };
  share();
  gone_ = true;
  std::vector<std::byte> bytes(512);
  const auto read = shared_->run(0, {.op = BlkOp::kRead, .target = bytes});
  EXPECT_EQ(read.error().code, Errc::kPeerClosed);
  gone_ = false;
}

}  // namespace
}  // namespace airlock::attach
