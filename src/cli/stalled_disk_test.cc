// SPDX-License-Identifier: Apache-2.0
//
// Goal: what the kernel still does for a process that was killed is done before the next process of
// that device serves anybody: no late write falls on a newer one. docs/RESTART.md. Method: a disk
// that keeps a write as long as the test wants, and a kill while it does.
#include <gtest/gtest.h>

#include <cstdlib>
#include <future>

#include "driver/blk.h"
#include "testing/restarting_transport.h"
#include "testing/stalled_disk.h"

namespace airlock::cli {
namespace {

using testing::RestartingTransport;
using testing::StalledDisk;

/// Long enough for a process to come to life, if it did not wait. (If it is slower the test sees
/// less, and never too much.)
constexpr std::chrono::milliseconds kMoment{500};

class StalledDiskTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!StalledDisk::possible()) GTEST_SKIP() << "needs root, FUSE and a loop device";
    disk_ = std::make_unique<StalledDisk>();
    const char* const airlock = std::getenv("AIRLOCK");
    CHECK(airlock != nullptr);
    auto made = std::make_unique<RestartingTransport>(
        std::vector<std::string>{airlock, "serve", "blk", "--region", "1M", "--queue-size", "16",
                                 "--backend", "file:" + disk_->path() + GetParam()});
    transport_ = made.get();
    blk_ = MUST(driver::Blk::open(std::move(made), {}));
  }

  std::unique_ptr<StalledDisk> disk_;
  RestartingTransport* transport_ = nullptr;
  std::unique_ptr<driver::Blk> blk_;
};

INSTANTIATE_TEST_SUITE_P(Engines, StalledDiskTest,
                         ::testing::Values(",direct=on,engine=io_uring",
                                           ",direct=on,engine=threads"),
                         [](const auto& one) {
                           const bool ring = std::string_view(one.param).ends_with("io_uring");
                           return std::string(ring ? "IoUring" : "Threads");
                         });

TEST_P(StalledDiskTest, TheNextProcessWaitsForWhatTheKernelStillDoes) {
  const std::vector<std::byte> old_bytes(4096, std::byte{1});
  disk_->hold_next_write();
  auto written = std::async(std::launch::async, [&] { return blk_->write(0, old_bytes); });
  disk_->wait_until_held();
  auto restarted = std::async(std::launch::async, [&] { return transport_->kill_and_restart(); });
  EXPECT_EQ(restarted.wait_for(kMoment), std::future_status::timeout)
      << "another process serves the disk while a write of the one before is under way";
  disk_->release();
  EXPECT_TRUE(restarted.get());
  const auto done = written.get();
  EXPECT_TRUE(done) << describe(done.error());
  // Nothing comes late any more.
  const std::vector<std::byte> new_bytes(4096, std::byte{2});
  ASSERT_TRUE(blk_->write(0, new_bytes));
  ASSERT_TRUE(blk_->flush());
  EXPECT_EQ(disk_->bytes(0, 4096), new_bytes);
}

}  // namespace
}  // namespace airlock::cli
