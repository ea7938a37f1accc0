// SPDX-License-Identifier: Apache-2.0
//
// Goal: a device process that is killed at any moment is followed by one that goes on: our driver,
// which believes nothing, sees a pause and no error, and the disk holds what was written.
// docs/RESTART.md. Method: the processes that `airlock serve blk` is, killed while our verifying
// load runs over their disk.
#include <gtest/gtest.h>

#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>

#include "base/size.h"
#include "cli/blk_verifier.h"
#include "testing/restarting_transport.h"

namespace airlock::cli {
namespace {

using testing::RestartingTransport;

struct Case {
  const char* name;
  const char* backend;  // behind the path
  const char* features;
  std::uint64_t ring_features = driver::kRingFeaturesByDefault;
};

const Case kCases[] = {
    {.name = "Packed", .backend = "", .features = "packed=on"},
    {.name = "Split", .backend = "", .features = "packed=off"},
    {.name = "PlainThreads",
     .backend = ",engine=threads",
     .features = "packed=off,event_idx=off,indirect=off"},
    {.name = "PackedInOrderDirect",
     .backend = ",direct=on",
     .features = "packed=on",
     .ring_features = driver::kRingFeatures},
};

/// What AIRLOCK_KILLS and its like say, or `otherwise`.
std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : parse_size(text).value();
}

class RestartTest : public ::testing::TestWithParam<Case> {
 protected:
  RestartTest() {
    std::string name = (std::filesystem::temp_directory_path() / "airlock-restart-XXXXXX").string();
    CHECK(mkdtemp(name.data()) != nullptr);
    folder_ = name;
    std::ofstream(image_ = folder_ / "disk.img");
    std::filesystem::resize_file(image_, kDiskBytes);
  }
  ~RestartTest() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] std::vector<std::string> command() const {
    const char* const airlock = std::getenv("AIRLOCK");
    CHECK(airlock != nullptr);
    return {airlock,      "--quiet",
            "serve",      "blk",
            "--backend",  "file:" + image_.string() + GetParam().backend,
            "--region",   "16M",
            "--features", GetParam().features};
  }

  static constexpr std::uint64_t kDiskBytes = std::uint64_t{8} << 20;
  std::filesystem::path folder_;
  std::filesystem::path image_;
};

INSTANTIATE_TEST_SUITE_P(Devices, RestartTest, ::testing::ValuesIn(kCases),
                         [](const auto& one) { return std::string(one.param.name); });

/// Kills the device again and again, after a moment's work each.
class Killer {
 public:
  explicit Killer(RestartingTransport& transport)
      : thread_([this, &transport](const std::stop_token& stop) {
          std::minstd_rand random(std::random_device{}());
          while (!stop.stop_requested() && alive_) {
            // tidy: allow sleep because it waits for nothing: it sets the pace
            std::this_thread::sleep_for(std::chrono::microseconds(random() % 40'000));
            alive_ = transport.kill_and_restart();
            ++kills_;
          }
        }) {}

  [[nodiscard]] bool alive() const { return alive_; }
  [[nodiscard]] std::uint64_t kills() const { return kills_; }

 private:
  std::atomic<bool> alive_{true};
  std::atomic<std::uint64_t> kills_{0};
  std::jthread thread_;  // last: uses what is above
};

TEST_P(RestartTest, KilledUnderAVerifyingLoadItKeepsItsData) {
  const std::uint64_t kills = from_environment("AIRLOCK_KILLS", 20);
  auto made = std::make_unique<RestartingTransport>(command());
  RestartingTransport& transport = *made;
  auto blk = MUST(
      driver::Blk::open(std::move(made), {.device = {.ring_features = GetParam().ring_features}}));
  ASSERT_GT(blk->device().vectors(), 0U) << "it would not sleep";
  std::uint64_t runs = 0;
  std::uint64_t checked = 0;
  {
    const Killer killer(transport);
    while (killer.alive() && (killer.kills() < kills || runs == 0)) {
      BlkVerifyOptions options;
      options.total = from_environment("AIRLOCK_RESTART_TOTAL", 16U << 20U);
      options.seed = ++runs;
      options.depth_max = 32;
      options.block_max = 256U << 10U;
      BlkVerifier verifier(*blk, options);
      const auto done = verifier.run();
      ASSERT_TRUE(done) << describe(done.error()) << " after " << killer.kills() << " kills, at "
                        << verifier.mismatch().value_or(0);
      EXPECT_EQ(verifier.expected_sum(), verifier.disk_sum());
      checked += verifier.counts().bytes_checked;
    }
    EXPECT_TRUE(killer.alive()) << "a process did not come to life";
    EXPECT_GE(killer.kills(), kills);
    RecordProperty("kills", static_cast<int>(killer.kills()));
  }
  EXPECT_GT(checked, 0U);
  EXPECT_FALSE(blk->device().broken());
}

}  // namespace
}  // namespace airlock::cli
