// SPDX-License-Identifier: Apache-2.0
//
// Goal: whatever keeps a program from a device is named, with what to do about it. Method: a folder
// that looks like sysfs, and the errors that SysfsTransport has.
#include "driver/sysfs_obstacle.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace airlock::driver {
namespace {

namespace fs = std::filesystem;

class SysfsObstacleTest : public ::testing::Test {
 protected:
  SysfsObstacleTest() {
    CHECK(mkdtemp(root_.data()) != nullptr);
    where_ = {.address = "0000:00:05.0", .root = root_, .lockdown = root_ + "/lockdown"};
    fs::create_directories(device());
    lock_down("[none] integrity confidentiality");
  }
  ~SysfsObstacleTest() override { fs::remove_all(root_); }

  [[nodiscard]] fs::path device() const { return fs::path(root_) / where_.address; }
  void lock_down(const std::string& levels) const { std::ofstream(where_.lockdown) << levels; }
  [[nodiscard]] Obstacle explain(int errno_value) const {
    return explain_obstacle(where_, system_error(errno_value));
  }
  /// What open() itself says of the device as it is.
  [[nodiscard]] Obstacle explain_refusal() const {
    const auto opened = SysfsTransport::open(where_);
    EXPECT_FALSE(opened.has_value());
    return opened ? Obstacle{} : explain_obstacle(where_, opened.error());
  }
  static bool says(const std::string& text, const std::string& words) {
    return text.find(words) != std::string::npos;
  }

  std::string root_ = (fs::temp_directory_path() / "obstacle_XXXXXX").string();
  SysfsTransport::Options where_;
};

TEST_F(SysfsObstacleTest, NamesTheDriverAndHowToUnbindIt) {
  fs::create_directories(root_ + "/drivers/virtio-pci");
  fs::create_directory_symlink(root_ + "/drivers/virtio-pci", device() / "driver");
  const Obstacle obstacle = explain_refusal();
  EXPECT_TRUE(says(obstacle.why, "virtio-pci")) << obstacle.why;
  EXPECT_EQ(obstacle.remedy, "echo 0000:00:05.0 > " + root_ + "/0000:00:05.0/driver/unbind");
}

TEST_F(SysfsObstacleTest, SaysSoWhereTheDriverLeftMeanwhile) {
  EXPECT_TRUE(says(explain(EBUSY).why, "(any)"));
}

TEST_F(SysfsObstacleTest, NamesTheLockdownAndSecureBoot) {
  for (const std::string level : {"integrity", "confidentiality"}) {
    lock_down("none [" + level + "] other\n");
    const Obstacle obstacle = explain_refusal();
    EXPECT_TRUE(says(obstacle.why, "(" + level + ")")) << obstacle.why;
    EXPECT_TRUE(says(obstacle.remedy, "Secure Boot")) << obstacle.remedy;
  }
}

// The same error for another reason: no lockdown is claimed.
TEST_F(SysfsObstacleTest, BlamesNoLockdownWhereThereIsNone) {
  for (const char* text : {"[none] integrity confidentiality\n", "", "garbage", "][", "[none"}) {
    lock_down(text);
    EXPECT_FALSE(says(explain(EPERM).why, "locked down")) << text;
    EXPECT_TRUE(says(explain(EPERM).remedy, "root"));
  }
  fs::remove(where_.lockdown);
  EXPECT_FALSE(says(explain(EPERM).why, "locked down"));
}

TEST_F(SysfsObstacleTest, SendsOthersThanRootAway) {
  EXPECT_TRUE(says(explain(EACCES).why, "root"));
  EXPECT_TRUE(says(explain(EACCES).remedy, "sudo"));
}

TEST_F(SysfsObstacleTest, NamesAMissingDevice) {
  fs::remove_all(device());
  EXPECT_TRUE(says(explain_refusal().remedy, "lspci"));
}

TEST_F(SysfsObstacleTest, SaysHowAnAddressIsWritten) {
  where_.address = "5.0";
  EXPECT_TRUE(says(explain_refusal().why, "'5.0' is no PCI address"));
}

TEST_F(SysfsObstacleTest, SaysWhoElseMayHaveTheMemory) {
  EXPECT_TRUE(says(explain(EINVAL).remedy, "/proc/iomem"));
}

TEST_F(SysfsObstacleTest, SaysWhatItKnowsOfAnythingElse) {
  EXPECT_TRUE(says(explain(ENOMEM).why, "Cannot allocate memory"));
  const Obstacle other = explain_obstacle(where_, {.code = Errc::kNoRegion});
  EXPECT_EQ(other.why, describe({.code = Errc::kNoRegion}));
  EXPECT_TRUE(says(explain_obstacle(where_, {.code = Errc::kUnsupported}).remedy, "kernel/"));
}

}  // namespace
}  // namespace airlock::driver
