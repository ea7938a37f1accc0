// SPDX-License-Identifier: Apache-2.0
#include "cli/socket_keeper.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

namespace airlock::cli {
namespace {

class SocketKeeperTest : public testing::Test {
 protected:
  void SetUp() override {
    static_cast<void>(std::signal(SIGPIPE, SIG_IGN));  // as a server has it
    std::string name = testing::TempDir() + "airlock-keeper-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    path_ = folder_ / "socket";
  }
  void TearDown() override {
    std::filesystem::remove_all(folder_);
    while (waitpid(-1, nullptr, 0) > 0) {  // keepers that have ended
    }
  }

  std::filesystem::path folder_;
  std::filesystem::path path_;
};

TEST_F(SocketKeeperTest, RemovesTheFileWhenTold) {
  SocketKeeper keeper = MUST(SocketKeeper::start(path_));
  vfio_user::Listener listener = MUST(vfio_user::Listener::create(path_));
  MUST(keeper.keep(listener.file()));
  const Fd socket = listener.release();
  EXPECT_TRUE(std::filesystem::exists(path_));
  keeper.remove();
  EXPECT_FALSE(std::filesystem::exists(path_));
  keeper.remove();
}

TEST_F(SocketKeeperTest, RemovesTheFileWithTheObject) {
  {
    const SocketKeeper keeper = MUST(SocketKeeper::start(path_));
    vfio_user::Listener listener = MUST(vfio_user::Listener::create(path_));
    MUST(keeper.keep(listener.file()));
    const Fd socket = listener.release();
  }
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(SocketKeeperTest, LeavesAnotherFileInItsPlaceAlone) {
  SocketKeeper keeper = MUST(SocketKeeper::start(path_));
  vfio_user::Listener listener = MUST(vfio_user::Listener::create(path_));
  MUST(keeper.keep(listener.file()));
  const Fd socket = listener.release();
  std::filesystem::rename(path_, folder_ / "moved");
  std::ofstream(path_) << "precious";
  keeper.remove();
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(SocketKeeperTest, RemovesNothingThatItWasNotTold) {
  SocketKeeper keeper = MUST(SocketKeeper::start(path_));
  std::ofstream(path_) << "precious";
  keeper.remove();
  EXPECT_TRUE(std::filesystem::exists(path_));
}

}  // namespace
}  // namespace airlock::cli
