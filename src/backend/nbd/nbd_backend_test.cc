// SPDX-License-Identifier: Apache-2.0
// A real nbdkit, with its filters that delay and fail, and killed under load: what is written is
// read, what fails is reported, and a server that is away makes requests wait.
#include "backend/nbd/nbd_backend.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include <gtest/gtest.h>

#include "testing/block_bench.h"

namespace airlock::backend {
namespace {

using testing::BlockBench;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

/// One nbdkit on a UNIX socket, which can be killed and started again.
class Nbdkit {
 public:
  Nbdkit(std::string socket, std::vector<std::string> words)
      : socket_(std::move(socket)), words_(std::move(words)) {}
  ~Nbdkit() { kill(); }
  Nbdkit(const Nbdkit&) = delete;
  Nbdkit& operator=(const Nbdkit&) = delete;

  void start() {
    unlink(socket_.c_str());
    std::vector<std::string> all{"nbdkit", "--foreground", "--exit-with-parent", "-U", socket_};
    all.insert(all.end(), words_.begin(), words_.end());
    std::vector<char*> arguments;
    for (std::string& word : all)
      arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_ = fork();
    CHECK(pid_ >= 0);
    if (pid_ == 0) {
      execvp("nbdkit", arguments.data());
      _exit(127);
    }
  }
  void kill() {
    if (pid_ < 0) return;
    ::kill(pid_, SIGKILL);
    CHECK(waitpid(std::exchange(pid_, -1), nullptr, 0) > 0);
  }

 private:
  std::string socket_;
  std::vector<std::string> words_;
  pid_t pid_ = -1;
};

class NbdBackendTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "airlock-nbd-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    socket_ = folder_ / "s";
    uri_ = "nbd+unix:///?socket=" + socket_;
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  void serve(const std::vector<std::string>& words) {
    server_ = std::make_unique<Nbdkit>(socket_, words);
    server_->start();
  }
  /// An image of `size` bytes, and a server of it.
  void serve_file(std::uint64_t size, std::vector<std::string> words = {}) {
    const std::string path = folder_ / "disk.img";
    {
      const std::ofstream create(path);
    }
    std::filesystem::resize_file(path, size);
    words.insert(words.end(), {"file", path});
    serve(words);
  }
  /// Waits for the server to be there.
  [[nodiscard]] std::unique_ptr<BlockBackend> open(OpenOptions options = {}) const {
    options.wait = true;
    auto opened = open_nbd(uri_, options);
    if (!opened) ADD_FAILURE() << opened.error().text();
    return opened ? std::move(*opened) : nullptr;
  }
  /// What a server that is there, or will be, is refused for.
  [[nodiscard]] std::string refusal(const OpenOptions& options = {}) const {
    for (;;) {
      const auto opened = open_nbd(uri_, options);
      const std::string text = opened ? "" : opened.error().text();
      const bool not_yet = text.find("No such file") != std::string::npos ||
                           text.find("Connection refused") != std::string::npos;
      if (!not_yet) return text;
    }
  }

  std::filesystem::path folder_;
  std::string socket_;
  std::string uri_;
  std::unique_ptr<Nbdkit> server_;
  BlockBench bench_;
};

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST_F(NbdBackendTest, IsTheDiskThatTheServerHas) {
  serve({"memory", "8M"});
  const auto disk = open();
  ASSERT_TRUE(disk);
  EXPECT_EQ(disk->geometry().capacity_bytes, 8 * kMiB);
  EXPECT_FALSE(disk->geometry().read_only);
  EXPECT_TRUE(disk->geometry().can_discard);
  EXPECT_TRUE(disk->geometry().can_write_zeroes);
  EXPECT_EQ(disk->describe(), uri_ + ", 8M");
  testing::compare_with_model(*disk, bench_, 1);
}

TEST_F(NbdBackendTest, HasTheBlocksThatTheServerAsksFor) {
  serve({"--filter=blocksize-policy", "memory", "8M", "blocksize-minimum=4096",
         "blocksize-preferred=16384", "blocksize-maximum=1M", "blocksize-error-policy=error"});
  const auto disk = open();
  ASSERT_TRUE(disk);
  EXPECT_EQ(disk->geometry().logical_block_bytes, 4096U);
  EXPECT_EQ(disk->geometry().physical_block_bytes, 16384U);
  const auto channel = MUST(disk->open_channel(bench_.region(), 8));
  // More than the server takes at once, and less than a block of it.
  const std::vector<std::byte> bytes(3 * kMiB, std::byte{7});
  EXPECT_EQ(bench_.write(*channel, 4096, bytes).error, 0);
  EXPECT_EQ(bench_.read(*channel, 4096, bytes.size()), bytes);
  EXPECT_EQ(bench_.write(*channel, 512, std::vector<std::byte>(512)).error, EINVAL);
}

TEST_F(NbdBackendTest, WritesNothingToAServerThatOnlyReads) {
  serve({"--readonly", "memory", "8M"});
  const auto disk = open();
  ASSERT_TRUE(disk);
  EXPECT_TRUE(disk->geometry().read_only);
  EXPECT_FALSE(disk->geometry().can_discard);
  const auto channel = MUST(disk->open_channel(bench_.region(), 8));
  EXPECT_EQ(bench_.write(*channel, 0, std::vector<std::byte>(512)).error, EROFS);
  EXPECT_EQ(bench_.read(*channel, 0, 512), std::vector<std::byte>(512));
}

TEST_F(NbdBackendTest, ReportsWhatTheServerFails) {
  serve({"--filter=error", "memory", "8M", "error-pwrite=ENOSPC", "error-pwrite-rate=100%",
         "error-pread=EIO", "error-pread-rate=100%"});
  const auto disk = open();
  ASSERT_TRUE(disk);
  const auto channel = MUST(disk->open_channel(bench_.region(), 8));
  EXPECT_EQ(bench_.write(*channel, 0, std::vector<std::byte>(512)).error, ENOSPC);
  const shm::SharedBytes memory = bench_.at(0, 512);
  EXPECT_EQ(BlockBench::run(*channel, {.length = 512, .segments = std::span(&memory, 1)}).error,
            EIO);
  EXPECT_EQ(BlockBench::run(*channel, {.op = BlockOp::kFlush}).error, 0);
}

TEST_F(NbdBackendTest, RequestsGoOnWhileOthersAreDelayed) {
  serve({"--filter=delay", "memory", "8M", "delay-write=300ms"});
  const auto disk = open();
  ASSERT_TRUE(disk);
  const auto channel = MUST(disk->open_channel(bench_.region(), 8));
  const shm::SharedBytes written = bench_.at(0, 512);
  const shm::SharedBytes read = bench_.at(4096, 512);
  ASSERT_TRUE(channel->submit(
      {.token = 1, .op = BlockOp::kWrite, .length = 512, .segments = std::span(&written, 1)}));
  ASSERT_TRUE(channel->submit(
      {.token = 2, .offset = 4096, .length = 512, .segments = std::span(&read, 1)}));
  const auto done = BlockBench::wait(*channel, 2);
  EXPECT_EQ(done[0].token, 2U);
  EXPECT_EQ(done[1].token, 1U);
}

TEST_F(NbdBackendTest, EveryQueueHasAConnectionWhereTheServerAllowsIt) {
  serve({"memory", "8M"});
  const auto disk = open({.channels = 2});
  ASSERT_TRUE(disk);
  const auto first = MUST(disk->open_channel(bench_.region(), 8));
  auto second = MUST(disk->open_channel(bench_.region(), 8));
  const std::vector<std::byte> bytes(4096, std::byte{5});
  EXPECT_EQ(bench_.write(*first, 0, bytes).error, 0);
  EXPECT_EQ(bench_.read(*second, 0, bytes.size()), bytes);
  EXPECT_FALSE(disk->open_channel(bench_.region(), 8)) << "a connection that nobody may make";
  second.reset();
  EXPECT_TRUE(disk->open_channel(bench_.region(), 8));
}

TEST_F(NbdBackendTest, RefusesSeveralQueuesWhereTheServerDoesNot) {
  serve({"--filter=multi-conn", "memory", "8M", "multi-conn-mode=disable"});
  EXPECT_SAYS(refusal({.channels = 2}), "give --queues 1");
  EXPECT_EQ(refusal({.channels = 1}), "");
}

TEST_F(NbdBackendTest, SaysWhyThereIsNoDisk) {
  const auto opened = open_nbd(uri_, {});
  ASSERT_FALSE(opened);
  EXPECT_SAYS(opened.error().text(), "No such file");
  serve({"memory", "0"});
  EXPECT_SAYS(refusal(), "it is empty");
  server_->kill();
  serve({"memory", "1000"});
  EXPECT_SAYS(refusal(), "not a multiple of 512");
}

TEST_F(NbdBackendTest, NothingIsLostThoughTheServerIsKilledUnderLoad) {
  serve_file(4 * kMiB);
  const auto disk = open();
  ASSERT_TRUE(disk);
  std::promise<void> stop;
  std::atomic<int> kills = 0;
  std::thread killer([&, stopped = stop.get_future()] {
    do {
      server_->kill();
      server_->start();
      ++kills;
    } while (stopped.wait_for(std::chrono::milliseconds(150)) == std::future_status::timeout);
  });
  for (std::uint32_t seed = 0; seed < 3 || kills < 10; ++seed)
    testing::compare_with_model(*disk, bench_, seed);
  stop.set_value();
  killer.join();
}

TEST_F(NbdBackendTest, RequestsWaitForAServerThatIsAway) {
  serve_file(4 * kMiB);
  const auto disk = open();
  ASSERT_TRUE(disk);
  const auto channel = MUST(disk->open_channel(bench_.region(), 8));
  server_->kill();
  const shm::SharedBytes memory = bench_.at(0, 512);
  ASSERT_TRUE(channel->submit({.token = 3, .length = 512, .segments = std::span(&memory, 1)}));
  std::array<BlockCompletion, 4> done;
  for (int i = 0; i < 10; ++i) {
    pollfd fd{.fd = channel->completion_fd(), .events = POLLIN, .revents = 0};
    CHECK(::poll(&fd, 1, 5'000) == 1);  // an attempt, and its failure
    ASSERT_EQ(channel->reap(done), 0U);
  }
  server_->start();
  const auto all = BlockBench::wait(*channel, 1);
  EXPECT_EQ(all[0].token, 3U);
  EXPECT_EQ(all[0].error, 0);
}

TEST_F(NbdBackendTest, ACancelledRequestWaitsForNoServer) {
  serve_file(4 * kMiB);
  const auto disk = open();
  ASSERT_TRUE(disk);
  const auto channel = MUST(disk->open_channel(bench_.region(), 8));
  server_->kill();
  const shm::SharedBytes memory = bench_.at(0, 512);
  ASSERT_TRUE(channel->submit({.length = 512, .segments = std::span(&memory, 1)}));
  channel->cancel();
  EXPECT_EQ(BlockBench::wait(*channel, 1)[0].error, ECANCELED);
  EXPECT_FALSE(channel->submit({.length = 512, .segments = std::span(&memory, 1)}));
}

TEST_F(NbdBackendTest, WhoCannotWaitGetsAnError) {
  serve_file(4 * kMiB);
  const auto disk = open();
  ASSERT_TRUE(disk);
  const auto channel = MUST(disk->open_channel(bench_.region(), 8));
  const shm::SharedBytes memory = bench_.at(0, 512);
  // Not while the server is there.
  ASSERT_TRUE(channel->submit({.length = 512, .segments = std::span(&memory, 1)}));
  channel->give_up_waiting();
  EXPECT_EQ(BlockBench::wait(*channel, 1)[0].error, 0);
  server_->kill();
  ASSERT_TRUE(channel->submit({.length = 512, .segments = std::span(&memory, 1)}));
  std::array<BlockCompletion, 1> done;
  while (channel->reap(done) == 0)
    channel->give_up_waiting();
  EXPECT_EQ(done[0].error, EIO);
}

TEST_F(NbdBackendTest, AnExportThatShrankIsNotThisDisk) {
  serve_file(4 * kMiB);
  const auto disk = open();
  ASSERT_TRUE(disk);
  const auto channel = MUST(disk->open_channel(bench_.region(), 8));
  server_->kill();
  serve_file(2 * kMiB);
  const shm::SharedBytes memory = bench_.at(0, 512);
  ASSERT_TRUE(channel->submit({.length = 512, .segments = std::span(&memory, 1)}));
  std::array<BlockCompletion, 4> done;
  for (int i = 0; i < 10; ++i) {
    pollfd fd{.fd = channel->completion_fd(), .events = POLLIN, .revents = 0};
    CHECK(::poll(&fd, 1, 5'000) == 1);
    ASSERT_EQ(channel->reap(done), 0U);
  }
  server_->kill();
  serve_file(4 * kMiB);
  EXPECT_EQ(BlockBench::wait(*channel, 1)[0].error, 0);
}

TEST_F(NbdBackendTest, ANewClientFindsTheConnectionOfTheOneBefore) {
  serve({"memory", "8M"});
  const auto disk = open();
  ASSERT_TRUE(disk);
  for (std::uint32_t round = 0; round < 10; ++round) {
    const auto channel = MUST(disk->open_channel(bench_.region(), 8));
    // The last request is left unfinished.
    const shm::SharedBytes memory = bench_.at(0, 512);
    EXPECT_EQ(bench_.read(*channel, 0, 4096).size(), 4096U);
    ASSERT_TRUE(channel->submit({.length = 512, .segments = std::span(&memory, 1)}));
    std::array<BlockCompletion, 1> done;
    static_cast<void>(channel->reap(done));
  }
}

}  // namespace
}  // namespace airlock::backend
