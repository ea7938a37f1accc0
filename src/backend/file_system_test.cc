// SPDX-License-Identifier: Apache-2.0
// What depends on the system around: a sandbox without io_uring, no memory to lock, block devices.
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/loop.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "backend/file_backend.h"
#include "testing/block_bench.h"

namespace airlock::backend {
namespace {

using testing::BlockBench;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

class TempImage {
 public:
  TempImage() : path_(std::filesystem::temp_directory_path() / "airlock-image-XXXXXX") {
    std::string name = path_.string();
    fd_ = Fd(mkstemp(name.data()));
    path_ = name;
    CHECK(fd_ && ftruncate(fd_.get(), kMiB) == 0);
  }
  ~TempImage() { std::filesystem::remove(path_); }
  TempImage(const TempImage&) = delete;
  TempImage& operator=(const TempImage&) = delete;
  [[nodiscard]] std::string path() const { return path_.string(); }
  [[nodiscard]] const Fd& fd() const { return fd_; }

 private:
  std::filesystem::path path_;
  Fd fd_;
};

/// Runs `body` in a child, whose limits and filters end with it; whether it returned true.
template <class Body>
bool in_a_child(const Body& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body() ? 0 : 1);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool forbid_io_uring() {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{.len = std::size(code), .filter = code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

bool writes_and_reads(BlockChannel& channel, const BlockBench& bench) {
  const std::vector<std::byte> bytes(4096, std::byte{7});
  return bench.write(channel, 8192, bytes).error == 0 &&
         BlockBench::run(channel, {.op = BlockOp::kFlush}).error == 0 &&
         bench.read(channel, 8192, 4096) == bytes;
}

// No engine, no thread: there is nothing to wait for, however much it is.
TEST(FileBackend, CopiesAtOnceWhereTheFileIsMemory) {
  const Fd file(memfd_create("airlock-image", MFD_CLOEXEC));
  ASSERT_TRUE(file);
  ASSERT_EQ(ftruncate(file.get(), 4 * kMiB), 0);
  const BlockBench bench;
  for (const FileEngine engine : {FileEngine::kThreads, FileEngine::kIoUring}) {
    auto disk = open_file({.path = fmt::format("/proc/self/fd/{}", file.get()), .engine = engine});
    ASSERT_TRUE(disk) << disk.error().text();
    auto channel = MUST((*disk)->open_channel(bench.region(), 4));
    const shm::SharedBytes memory = bench.at(0, 2 * kMiB);
    for (const BlockOp op : {BlockOp::kWrite, BlockOp::kRead}) {
      ASSERT_TRUE(channel->submit(
          {.op = op, .offset = kMiB, .length = 2 * kMiB, .segments = std::span(&memory, 1)}));
      BlockCompletion done;
      ASSERT_EQ(channel->reap(std::span(&done, 1)), 1U);
      EXPECT_EQ(done.error, 0);
      EXPECT_EQ(done.bytes, 2 * kMiB);
    }
    EXPECT_TRUE(writes_and_reads(*channel, bench));
  }
}

TEST(FileBackend, GoesOnWithThreadsWhereIoUringIsForbidden) {
  const TempImage image;
  EXPECT_TRUE(in_a_child([&] {
    if (!forbid_io_uring()) return false;
    const BlockBench bench;
    const auto disk = open_file({.path = image.path()});
    auto channel = (*disk)->open_channel(bench.region(), 8);
    return channel && writes_and_reads(**channel, bench);
  }));
}

TEST(FileBackend, SaysSoWhereIoUringIsForbiddenAndWasAskedFor) {
  const TempImage image;
  EXPECT_TRUE(in_a_child([&] {
    if (!forbid_io_uring()) return false;
    const BlockBench bench;
    const auto disk = open_file({.path = image.path(), .engine = FileEngine::kIoUring});
    const auto channel = (*disk)->open_channel(bench.region(), 8);
    return !channel && channel.error() == system_error(EPERM);
  }));
}

TEST(FileBackend, GoesOnUnregisteredWithoutMemoryToLock) {
  const TempImage image;
  EXPECT_TRUE(in_a_child([&] {
    const BlockBench bench;
    const auto disk = open_file({.path = image.path(), .direct = true, .register_memory = true});
    if (!disk) return false;
    // Enough for the ring itself, not for the region.
    constexpr rlim_t kLittle = 262144;
    const rlimit little{.rlim_cur = kLittle, .rlim_max = kLittle};
    constexpr uid_t kNobody = 65534;
    if (setrlimit(RLIMIT_MEMLOCK, &little) != 0) return false;
    if (geteuid() == 0 && setuid(kNobody) != 0) return false;  // root may lock all the same
    auto channel = (*disk)->open_channel(bench.region(), 8);
    return channel && writes_and_reads(**channel, bench);
  }));
}

/// A loop device over an image; empty where that is not allowed.
class LoopDevice {
 public:
  explicit LoopDevice(const TempImage& image) {
    const Fd control(open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    const int number = control ? ioctl(control.get(), LOOP_CTL_GET_FREE) : -1;
    if (number < 0) return;
    path_ = fmt::format("/dev/loop{}", number);
    Fd device(open(path_.c_str(), O_RDWR | O_CLOEXEC));
    if (device && ioctl(device.get(), LOOP_SET_FD, image.fd().get()) == 0) {
      device_ = std::move(device);
    }
  }
  ~LoopDevice() {
    if (device_) ioctl(device_.get(), LOOP_CLR_FD, 0);
  }
  LoopDevice(const LoopDevice&) = delete;
  LoopDevice& operator=(const LoopDevice&) = delete;
  explicit operator bool() const { return static_cast<bool>(device_); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
  Fd device_;
};

class BlockDeviceTest : public ::testing::TestWithParam<FileEngine> {};

TEST_P(BlockDeviceTest, ServesABlockDevice) {
  const TempImage image;
  const LoopDevice device(image);
  if (!device) GTEST_SKIP() << "no loop device to be had";
  const BlockBench bench;
  const auto disk = open_file({.path = device.path(), .engine = GetParam()});
  ASSERT_TRUE(disk) << disk.error().text();
  EXPECT_EQ((*disk)->geometry().capacity_bytes, kMiB);
  EXPECT_EQ((*disk)->geometry().logical_block_bytes, 512U);
  testing::compare_with_model(**disk, bench, 3);
  // O_EXCL: a second opener is turned away, whatever it knows of our locks.
  const auto second = open_file({.path = device.path(), .engine = GetParam()});
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().text().find("mounted"), std::string::npos) << second.error().text();
}

INSTANTIATE_TEST_SUITE_P(Engines, BlockDeviceTest,
                         ::testing::Values(FileEngine::kIoUring, FileEngine::kThreads));

}  // namespace
}  // namespace airlock::backend
