// SPDX-License-Identifier: Apache-2.0
#include "testing/stalled_disk.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include <fmt/core.h>

#include "base/check.h"

namespace airlock::testing {

namespace {

constexpr std::uint64_t kFile = 2;  // node of the one file; the folder is FUSE_ROOT_ID
constexpr std::uint32_t kWriteMost = 128U << 10U;
constexpr const char* kName = "disk";

template <class T>
T argument_of(std::span<const std::byte> request) {
  T value{};
  CHECK(request.size() >= sizeof value);
  std::memcpy(&value, request.data(), sizeof value);
  return value;
}

template <class T>
std::span<const std::byte> view_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

fuse_attr attributes(std::uint64_t node) {
  fuse_attr attr{};
  attr.ino = node;
  attr.mode = node == kFile ? S_IFREG | 0600U : S_IFDIR | 0700U;
  attr.nlink = 1;
  attr.size = node == kFile ? StalledDisk::kBytes : 0;
  attr.blksize = 4096;
  return attr;
}

}  // namespace

bool StalledDisk::possible() {
  return geteuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0 &&
         access("/dev/loop-control", R_OK | W_OK) == 0;
}

StalledDisk::StalledDisk() {
  mount();
  thread_ = std::thread([this] { serve(); });
  attach();
}

StalledDisk::~StalledDisk() {
  release();
  CHECK(ioctl(loop_.get(), LOOP_CLR_FD, 0) == 0);
  loop_.reset();
  // With MNT_DETACH it goes when the loop device has let go of it.
  CHECK(umount2(folder_.c_str(), MNT_DETACH) == 0);
  thread_.join();
  std::filesystem::remove(folder_);
}

void StalledDisk::mount() {
  std::string name = (std::filesystem::temp_directory_path() / "airlock-fuse-XXXXXX").string();
  CHECK(mkdtemp(name.data()) != nullptr);
  folder_ = name;
  fuse_ = MUST(own_fd(open("/dev/fuse", O_RDWR | O_CLOEXEC)));
  const std::string options = fmt::format("fd={},rootmode=40700,user_id=0,group_id=0", fuse_.get());
  CHECK(::mount("airlock-stalled", folder_.c_str(), "fuse", MS_NOSUID | MS_NODEV,
                options.c_str()) == 0);
}

void StalledDisk::attach() {
  const Fd file = MUST(own_fd(open((folder_ / kName).c_str(), O_RDWR | O_CLOEXEC)));
  const Fd control = MUST(own_fd(open("/dev/loop-control", O_RDWR | O_CLOEXEC)));
  // Somebody else may be quicker.
  for (bool attached = false; !attached;) {
    const int number = ioctl(control.get(), LOOP_CTL_GET_FREE);
    CHECK(number >= 0);
    loop_path_ = fmt::format("/dev/loop{}", number);
    loop_ = MUST(own_fd(open(loop_path_.c_str(), O_RDWR | O_CLOEXEC)));
    attached = ioctl(loop_.get(), LOOP_SET_FD, file.get()) == 0;
    CHECK(attached || errno == EBUSY);
  }
}

void StalledDisk::hold_next_write() {
  const std::scoped_lock held(lock_);
  hold_ = true;
}

void StalledDisk::wait_until_held() {
  std::unique_lock held(lock_);
  changed_.wait(held, [this] { return held_.has_value(); });
}

void StalledDisk::release() {
  std::optional<std::vector<std::byte>> late;
  {
    const std::scoped_lock held(lock_);
    hold_ = false;
    late = std::exchange(held_, std::nullopt);
  }
  if (late) write(held_unique_, *late);
}

std::vector<std::byte> StalledDisk::bytes(std::uint64_t offset, std::size_t count) {
  const std::scoped_lock held(lock_);
  const auto first = bytes_.begin() + static_cast<std::ptrdiff_t>(offset);
  return {first, first + static_cast<std::ptrdiff_t>(count)};
}

void StalledDisk::serve() {
  std::vector<std::byte> buffer(kWriteMost + FUSE_MIN_READ_BUFFER);
  for (;;) {
    const ssize_t got = read(fuse_.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == ENODEV) return;  // unmounted
    CHECK(got > 0 || errno == EINTR || errno == ENOENT || errno == EAGAIN);
    if (got > 0) handle(std::span(buffer).first(static_cast<std::size_t>(got)));
  }
}

void StalledDisk::handle(std::span<const std::byte> request) {
  const auto header = argument_of<fuse_in_header>(request);
  const auto argument = request.subspan(sizeof header);
  switch (header.opcode) {
    case FUSE_INIT: {
      fuse_init_out out{};
      out.major = FUSE_KERNEL_VERSION;
      out.minor = std::min(argument_of<fuse_init_in>(argument.first(sizeof(fuse_init_in))).minor,
                           std::uint32_t{FUSE_KERNEL_MINOR_VERSION});
      out.max_write = kWriteMost;
      return reply(header.unique, 0, view_of(out));
    }
    case FUSE_LOOKUP: {
      fuse_entry_out out{};
      out.nodeid = kFile;
      out.attr = attributes(kFile);
      return reply(header.unique, 0, view_of(out));
    }
    case FUSE_GETATTR:
    case FUSE_SETATTR: {
      fuse_attr_out out{};
      out.attr = attributes(header.nodeid);
      return reply(header.unique, 0, view_of(out));
    }
    case FUSE_OPEN:
      return reply(header.unique, 0, view_of(fuse_open_out{}));
    case FUSE_READ: {
      const auto in = argument_of<fuse_read_in>(argument);
      CHECK(in.offset <= kBytes);
      return reply(header.unique, 0,
                   bytes(in.offset, std::min<std::uint64_t>(in.size, kBytes - in.offset)));
    }
    case FUSE_WRITE: {
      {
        const std::scoped_lock held(lock_);
        if (hold_ && !held_) {
          held_.emplace(argument.begin(), argument.end());
          held_unique_ = header.unique;
          changed_.notify_all();
          return;
        }
      }
      return write(header.unique, argument);
    }
    case FUSE_FSYNC:
    case FUSE_FLUSH:
    case FUSE_RELEASE:
      return reply(header.unique, 0);
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
      return;  // not to be answered
    default:
      return reply(header.unique, -ENOSYS);
  }
}

void StalledDisk::write(std::uint64_t unique, std::span<const std::byte> argument) {
  const auto in = argument_of<fuse_write_in>(argument);
  const auto data = argument.subspan(sizeof in);
  CHECK(in.size <= data.size() && in.offset <= kBytes && in.size <= kBytes - in.offset);
  {
    const std::scoped_lock held(lock_);
    std::ranges::copy(data.first(in.size), bytes_.begin() + static_cast<std::ptrdiff_t>(in.offset));
  }
  fuse_write_out out{};
  out.size = in.size;
  reply(unique, 0, view_of(out));
}

void StalledDisk::reply(std::uint64_t unique, int error, std::span<const std::byte> payload) {
  const fuse_out_header header{
      .len = static_cast<std::uint32_t>(sizeof(fuse_out_header) + payload.size()),
      .error = error,
      .unique = unique};
  std::vector<std::byte> message(header.len);
  std::memcpy(message.data(), &header, sizeof header);
  std::ranges::copy(payload, message.begin() + sizeof header);
  // The one who asked may be gone (ENOENT).
  CHECK(::write(fuse_.get(), message.data(), message.size()) > 0 || errno == ENOENT);
}

}  // namespace airlock::testing
