// SPDX-License-Identifier: Apache-2.0
// Real files under every engine: what is written is read, what fails is reported, nothing outlives
// its channel.
#include "backend/file_backend.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "testing/block_bench.h"

namespace airlock::backend {
namespace {

using testing::BlockBench;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

struct Mode {
  const char* name;
  FileEngine engine;
  bool direct;
  bool register_memory;
};

/// Lets the process lock less memory than a BlockBench has while it lives, root too; a ring needs
/// some itself.
class LittleLockedMemory {
 public:
  LittleLockedMemory() {
    getrlimit(RLIMIT_MEMLOCK, &before_);
    const rlimit little{.rlim_cur = kMiB, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_MEMLOCK, &little);
    syscall(SYS_capget, &header_, sets_.data());
    auto fewer = sets_;
    fewer[CAP_TO_INDEX(CAP_IPC_LOCK)].effective &= ~CAP_TO_MASK(CAP_IPC_LOCK);
    syscall(SYS_capset, &header_, fewer.data());
  }
  ~LittleLockedMemory() {
    syscall(SYS_capset, &header_, sets_.data());
    setrlimit(RLIMIT_MEMLOCK, &before_);
  }
  LittleLockedMemory(const LittleLockedMemory&) = delete;
  LittleLockedMemory& operator=(const LittleLockedMemory&) = delete;

 private:
  rlimit before_{};
  __user_cap_header_struct header_{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets_{};
};

class FileBackendTest : public ::testing::TestWithParam<Mode> {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "airlock-file-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    path_ = folder_ / "disk.img";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void make_image(std::uint64_t size) const {
    {
      const std::ofstream create(path_);
    }
    std::filesystem::resize_file(path_, size);
  }
  [[nodiscard]] std::unique_ptr<BlockBackend> open(bool read_only = false) const {
    auto opened = open_file({.path = path_,
                             .read_only = read_only,
                             .direct = GetParam().direct,
                             .engine = GetParam().engine,
                             .register_memory = GetParam().register_memory});
    if (!opened) ADD_FAILURE() << opened.error().text();
    return opened ? std::move(*opened) : nullptr;
  }
  [[nodiscard]] std::uint64_t allocated_bytes() const {
    struct stat status{};
    EXPECT_EQ(stat(path_.c_str(), &status), 0);
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
  }

  std::filesystem::path folder_;
  std::filesystem::path path_;
  BlockBench bench_;
};

// A queue may have 32768 slots; no engine has to have as many.
TEST_P(FileBackendTest, ServesTheLargestQueue) {
  make_image(kMiB);
  const auto disk = open();
  ASSERT_TRUE(disk);
  const auto opened = disk->open_channel(bench_.region(), 32768);
  ASSERT_TRUE(opened) << describe(opened.error());
}

// Some disks report a physical block that is no power of two times the logical one, or none.
TEST(UsablePhysicalBlock, IsThePhysicalOneOnlyWhereADriverCanBeToldSo) {
  EXPECT_EQ(usable_physical_block(512, 4096), 4096U);
  EXPECT_EQ(usable_physical_block(4096, 4096), 4096U);
  EXPECT_EQ(usable_physical_block(512, 0), 512U);
  EXPECT_EQ(usable_physical_block(4096, 512), 4096U);
  EXPECT_EQ(usable_physical_block(512, 1536), 512U);
  EXPECT_EQ(usable_physical_block(512, 4000), 512U);
}

TEST_P(FileBackendTest, AgreesWithPlainMemory) {
  make_image(kMiB);
  const auto disk = open();
  ASSERT_TRUE(disk);
  testing::compare_with_model(*disk, bench_, 2);
}

TEST_P(FileBackendTest, KeepsWhatWasWrittenForTheNextTime) {
  make_image(kMiB);
  const std::vector<std::byte> bytes(8192, std::byte{0x5a});
  {
    const auto disk = open();
    ASSERT_TRUE(disk);
    auto channel = MUST(disk->open_channel(bench_.region(), 8));
    EXPECT_EQ(bench_.write(*channel, 65536, bytes).error, 0);
    EXPECT_EQ(BlockBench::run(*channel, {.op = BlockOp::kFlush}).error, 0);
  }
  const auto disk = open(true);
  ASSERT_TRUE(disk);
  auto channel = MUST(disk->open_channel(bench_.region(), 8));
  EXPECT_EQ(bench_.read(*channel, 65536, bytes.size()), bytes);
}

TEST_P(FileBackendTest, ReadsIntoMemoryOfAnyAlignment) {
  make_image(kMiB);
  const auto disk = open();
  ASSERT_TRUE(disk);
  auto channel = MUST(disk->open_channel(bench_.region(), 8));
  std::vector<std::byte> bytes(4096);
  bytes[0] = std::byte{1};
  bytes[4095] = std::byte{2};
  ASSERT_EQ(bench_.write(*channel, 512, bytes).error, 0);
  const std::array segments{bench_.at(3, 1), bench_.at(100, 95), bench_.at(4097, 4000)};
  const auto done = BlockBench::run(
      *channel, {.op = BlockOp::kRead, .offset = 512, .length = 4096, .segments = segments});
  EXPECT_EQ(done.error, 0);
  EXPECT_EQ(bench_.region().load_relaxed<std::uint8_t>(3), 1);
  EXPECT_EQ(bench_.region().load_relaxed<std::uint8_t>(4097 + 3999), 2);
}

TEST_P(FileBackendTest, ReadOnlyNeverWrites) {
  make_image(kMiB);
  const auto disk = open(true);
  ASSERT_TRUE(disk);
  EXPECT_TRUE(disk->geometry().read_only);
  auto channel = MUST(disk->open_channel(bench_.region(), 8));
  EXPECT_NE(bench_.write(*channel, 0, std::vector<std::byte>(512, std::byte{1})).error, 0);
  EXPECT_NE(BlockBench::run(*channel, {.op = BlockOp::kWriteZeroes, .length = 512}).error, 0);
  EXPECT_EQ(bench_.read(*channel, 0, 512), std::vector<std::byte>(512));
  EXPECT_EQ(allocated_bytes(), 0U);
}

TEST_P(FileBackendTest, DiscardGivesStorageBack) {
  make_image(kMiB);
  const auto disk = open();
  ASSERT_TRUE(disk);
  auto channel = MUST(disk->open_channel(bench_.region(), 8));
  ASSERT_EQ(bench_.write(*channel, 0, std::vector<std::byte>(kMiB, std::byte{1})).error, 0);
  ASSERT_EQ(BlockBench::run(*channel, {.op = BlockOp::kFlush}).error, 0);
  const std::uint64_t before = allocated_bytes();
  ASSERT_GE(before, kMiB);
  EXPECT_EQ(
      BlockBench::run(*channel, {.op = BlockOp::kDiscard, .offset = 0, .length = kMiB / 2}).error,
      0);
  EXPECT_LE(allocated_bytes(), before - kMiB / 2);
  EXPECT_EQ(bench_.read(*channel, 0, kMiB / 2), std::vector<std::byte>(kMiB / 2));
  EXPECT_EQ(std::filesystem::file_size(path_), kMiB);
}

TEST_P(FileBackendTest, WriteZeroesKeepsStorageUnlessItMayGo) {
  make_image(kMiB);
  const auto disk = open();
  ASSERT_TRUE(disk);
  auto channel = MUST(disk->open_channel(bench_.region(), 8));
  ASSERT_EQ(bench_.write(*channel, 0, std::vector<std::byte>(kMiB, std::byte{1})).error, 0);
  ASSERT_EQ(BlockBench::run(*channel, {.op = BlockOp::kFlush}).error, 0);
  const std::uint64_t before = allocated_bytes();
  EXPECT_EQ(BlockBench::run(*channel, {.op = BlockOp::kWriteZeroes, .length = kMiB / 2}).error, 0);
  EXPECT_EQ(BlockBench::run(*channel, {.op = BlockOp::kFlush}).error, 0);
  EXPECT_EQ(allocated_bytes(), before);
  EXPECT_EQ(bench_.read(*channel, 0, kMiB / 2), std::vector<std::byte>(kMiB / 2));
  EXPECT_EQ(
      BlockBench::run(
          *channel,
          {.op = BlockOp::kWriteZeroes, .may_unmap = true, .offset = kMiB / 2, .length = kMiB / 2})
          .error,
      0);
  EXPECT_LT(allocated_bytes(), before);
  EXPECT_EQ(bench_.read(*channel, kMiB / 2, kMiB / 2), std::vector<std::byte>(kMiB / 2));
}

TEST_P(FileBackendTest, RefusesMoreThanItsDepth) {
  make_image(kMiB);
  const auto disk = open();
  ASSERT_TRUE(disk);
  auto channel = MUST(disk->open_channel(bench_.region(), 3));
  for (std::uint64_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(channel->submit({.token = i, .op = BlockOp::kFlush}));
  }
  EXPECT_EQ(channel->submit({.op = BlockOp::kFlush}).error().code, Errc::kQueueFull);
  EXPECT_EQ(BlockBench::wait(*channel, 3).size(), 3U);
  EXPECT_TRUE(channel->submit({.op = BlockOp::kFlush}));
  BlockBench::wait(*channel, 1);
}

TEST_P(FileBackendTest, IsReadableOnlyWhileSomethingFinished) {
  make_image(kMiB);
  const auto disk = open();
  ASSERT_TRUE(disk);
  auto channel = MUST(disk->open_channel(bench_.region(), 4));
  pollfd fd{.fd = channel->completion_fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&fd, 1, 0), 0);
  EXPECT_EQ(BlockBench::run(*channel, {.op = BlockOp::kFlush}).error, 0);
  EXPECT_EQ(::poll(&fd, 1, 0), 0);
}

TEST_P(FileBackendTest, FinishesWhatIsInFlightBeforeItsChannelGoes) {
  make_image(kMiB);
  const auto disk = open();
  ASSERT_TRUE(disk);
  const shm::SharedBytes memory = bench_.at(0, 4096);
  memory.copy_in(0, std::vector<std::byte>(4096, std::byte{3}));
  {
    auto channel = MUST(disk->open_channel(bench_.region(), 64));
    for (std::uint64_t i = 0; i < 64; ++i) {
      ASSERT_TRUE(channel->submit({.token = i,
                                   .op = BlockOp::kWrite,
                                   .durable = true,
                                   .offset = i * 4096,
                                   .length = 4096,
                                   .segments = std::span(&memory, 1)}));
    }
    std::array<BlockCompletion, 1> one;
    channel->reap(one);
  }
  auto channel = MUST(disk->open_channel(bench_.region(), 4));
  constexpr std::uint64_t kAll = std::uint64_t{64} * 4096;
  EXPECT_EQ(bench_.read(*channel, 0, kAll), std::vector<std::byte>(kAll, std::byte{3}));
}

// Durable, so that none is done in submit() already.
TEST_P(FileBackendTest, CancelStartsNothingFurtherAndAllComesBack) {
  make_image(kMiB);
  const auto disk = open();
  ASSERT_TRUE(disk);
  constexpr std::uint64_t kRequests = 64;
  const shm::SharedBytes memory = bench_.at(0, 4096);
  memory.copy_in(0, std::vector<std::byte>(4096, std::byte{3}));
  auto channel = MUST(disk->open_channel(bench_.region(), kRequests));
  BlockRequest request{
      .op = BlockOp::kWrite, .durable = true, .length = 4096, .segments = std::span(&memory, 1)};
  for (; request.token < kRequests; ++request.token) {
    request.offset = request.token * 4096;
    ASSERT_TRUE(channel->submit(request));
  }
  channel->cancel();
  channel->cancel();
  request.offset = 0;
  EXPECT_EQ(channel->submit(request).error(), system_error(ECANCELED));
  std::array<bool, kRequests> written{};
  for (const BlockCompletion& done : BlockBench::wait(*channel, kRequests)) {
    EXPECT_TRUE(done.error == 0 || done.error == ECANCELED) << done.error;
    written.at(done.token) = done.error == 0;
  }
  if (GetParam().engine == FileEngine::kIoUring) {  // which gets nothing before the first reap()
    EXPECT_EQ(std::ranges::count(written, true), 0);
  }
  auto other = MUST(disk->open_channel(bench_.region(), 4));  // has no part in it
  for (std::uint64_t i = 0; i < kRequests; ++i) {
    EXPECT_EQ(bench_.read(*other, i * 4096, 4096),
              std::vector<std::byte>(4096, written.at(i) ? std::byte{3} : std::byte{0}));
  }
}

TEST_P(FileBackendTest, MemoryThatCantBeRegisteredIsSaidOnce) {
  if (!GetParam().register_memory) GTEST_SKIP() << "registers nothing";
  make_image(kMiB);
  const auto disk = open();
  ASSERT_TRUE(disk);
  const LittleLockedMemory limit;
  ::testing::internal::CaptureStderr();
  for (int i = 0; i < 3; ++i) {
    auto channel = MUST(disk->open_channel(bench_.region(), 4));
    EXPECT_EQ(BlockBench::run(*channel, {.op = BlockOp::kFlush}).error, 0);
  }
  const std::string log = ::testing::internal::GetCapturedStderr();
  if (log.empty()) GTEST_SKIP() << "this kernel registers whatever the limit";
  EXPECT_EQ(std::ranges::count(log, '\n'), 1) << log;
}

TEST_P(FileBackendTest, AFileThatGotShorterIsAnIoError) {
  make_image(kMiB);
  const auto disk = open();
  ASSERT_TRUE(disk);
  auto channel = MUST(disk->open_channel(bench_.region(), 4));
  std::filesystem::resize_file(path_, 4096);
  const shm::SharedBytes memory = bench_.at(0, 4096);
  BlockRequest request{
      .op = BlockOp::kRead, .offset = 65536, .length = 4096, .segments = std::span(&memory, 1)};
  EXPECT_EQ(BlockBench::run(*channel, request).error, EIO);
  request.offset = 0;  // and the rest still works
  EXPECT_EQ(BlockBench::run(*channel, request).error, 0);
}

/// Lowers the largest size a file may be written to, while it lives.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(std::uint64_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit lower{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &lower);
  }
  ~FileSizeLimit() { setrlimit(RLIMIT_FSIZE, &before_); }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
};

TEST_P(FileBackendTest, AWriteThatTheSystemRefusesIsAnErrorAndTheRestGoesOn) {
  make_image(kMiB);
  const auto disk = open();
  ASSERT_TRUE(disk);
  const FileSizeLimit limit(kMiB / 2);
  auto channel = MUST(disk->open_channel(bench_.region(), 4));
  const std::vector<std::byte> bytes(4096, std::byte{1});
  EXPECT_EQ(bench_.write(*channel, kMiB / 2, bytes).error, EFBIG);
  EXPECT_EQ(bench_.write(*channel, 0, bytes).error, 0);
}

TEST_P(FileBackendTest, AFullDiskIsAnErrorAndTheRestGoesOn) {
  const std::filesystem::path small = folder_ / "small";
  std::filesystem::create_directory(small);
  if (mount("tmpfs", small.c_str(), "tmpfs", 0, "size=1m") != 0) {
    GTEST_SKIP() << "may not mount a file system";
  }
  path_ = small / "disk.img";
  make_image(4 * kMiB);
  if (!GetParam().direct) {  // tmpfs may have no direct I/O
    const auto disk = open();
    ASSERT_TRUE(disk);
    auto channel = MUST(disk->open_channel(bench_.region(), 4));
    const std::vector<std::byte> bytes(kMiB / 2, std::byte{1});
    EXPECT_EQ(bench_.write(*channel, 0, bytes).error, 0);
    EXPECT_EQ(bench_.write(*channel, kMiB, bytes).error, 0);
    EXPECT_EQ(bench_.write(*channel, 2 * kMiB, bytes).error, ENOSPC);
    EXPECT_EQ(bench_.read(*channel, kMiB, bytes.size()), bytes);
    // tmpfs has no call for write zeroes without unmapping: zeros are written out.
    EXPECT_EQ(
        BlockBench::run(*channel, {.op = BlockOp::kWriteZeroes, .offset = kMiB, .length = kMiB / 2})
            .error,
        0);
    EXPECT_EQ(bench_.read(*channel, kMiB, bytes.size()), std::vector<std::byte>(bytes.size()));
    EXPECT_EQ(BlockBench::run(*channel, {.op = BlockOp::kDiscard, .length = kMiB}).error, 0);
    EXPECT_EQ(bench_.write(*channel, 2 * kMiB, bytes).error, 0);  // room again
  }
  EXPECT_EQ(umount(small.c_str()), 0);
}

INSTANTIATE_TEST_SUITE_P(
    Engines, FileBackendTest,
    ::testing::Values(Mode{"io_uring", FileEngine::kIoUring, false, false},
                      Mode{"io_uring_fixed", FileEngine::kIoUring, false, true},
                      Mode{"io_uring_direct", FileEngine::kIoUring, true, true},
                      Mode{"threads", FileEngine::kThreads, false, false},
                      Mode{"threads_direct", FileEngine::kThreads, true, false}),
    [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace airlock::backend
