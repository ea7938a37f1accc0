// SPDX-License-Identifier: Apache-2.0
#include "backend/file_backend.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>

#include <fmt/core.h>

#include "backend/file_target.h"
#include "backend/thread_channel.h"
#include "backend/uring_channel.h"
#include "backend/uring_pool.h"
#include "base/check.h"
#include "base/log.h"
#include "base/size.h"

namespace airlock::backend {

namespace {

std::unexpected<OpenError> refuse(const FileOptions& options, std::string why, std::string advice) {
  return std::unexpected(OpenError{
      .what = "open " + options.path, .why = std::move(why), .advice = std::move(advice)});
}

std::unexpected<OpenError> refuse_errno(const FileOptions& options) {
  const int error = errno;
  std::string advice = "check the path, and that it is a raw image or a block device";
  if (error == ENOENT) {
    advice =
        fmt::format("check the path, or create an image, as with: truncate -s 1G {}", options.path);
  } else if (error == EACCES || error == EPERM) {
    advice = options.read_only ? "let the server's user read it"
                               : "let the server's user read and write it, or use --readonly";
  } else if (error == EROFS) {
    advice = "use --readonly";
  } else if (error == EBUSY) {
    advice = "it is mounted or part of another device: unmount it, or use --readonly";
  } else if (error == EINVAL && options.direct) {
    advice = "its file system has no direct I/O: leave out direct=on";
  }
  return refuse(options, describe(system_error(error)), std::move(advice));
}

/// The same file with other flags, whatever its path leads to by now. Empty, and errno, on failure.
Fd reopen(const Fd& fd, int flags) {
  return Fd(::open(fmt::format("/proc/self/fd/{}", fd.get()).c_str(), flags | O_CLOEXEC));
}

struct Found {
  Fd fd;
  struct stat status{};
};

/// RWF_NOWAIT is refused there, though nothing is simpler.
bool is_in_memory(const Fd& fd) {
  struct statfs system{};
  if (fstatfs(fd.get(), &system) != 0) return false;
  return system.f_type == TMPFS_MAGIC || system.f_type == RAMFS_MAGIC;
}

Opened<Found> open_and_look(const FileOptions& options) {
  Found found;
  const int access = options.read_only ? O_RDONLY : O_RDWR;
  // Before it is known what it is: a FIFO must not make us wait for its writer.
  found.fd = Fd(::open(options.path.c_str(), access | O_CLOEXEC | O_NONBLOCK));
  if (!found.fd || fstat(found.fd.get(), &found.status) != 0) return refuse_errno(options);
  if (!S_ISREG(found.status.st_mode) && !S_ISBLK(found.status.st_mode)) {
    return refuse(options, "it is neither a file nor a block device",
                  "name a raw image or a block device");
  }
  if (S_ISBLK(found.status.st_mode) && !options.read_only) {
    // O_EXCL on a block device: not while it is mounted, and no mount while we have it.
    found.fd = reopen(found.fd, access | O_NONBLOCK | O_EXCL);
    if (!found.fd) return refuse_errno(options);
  }
  // io_uring takes O_NONBLOCK as a wish to fail rather than to wait, even for files.
  if (fcntl(found.fd.get(), F_SETFL, 0) != 0) return refuse_errno(options);
  return found;
}

/// Held as long as the descriptor is open, whatever else the process opens and closes.
Opened<void> lock(const FileOptions& options, const Fd& fd) {
  struct flock whole{};
  whole.l_type = options.read_only ? F_RDLCK : F_WRLCK;
  whole.l_whence = SEEK_SET;
  if (fcntl(fd.get(), F_OFD_SETLK, &whole) == 0) return {};
  if (options.wait && (errno == EAGAIN || errno == EACCES)) {
    log(LogLevel::kInfo, "lock {}: waiting for another process that uses it", options.path);
    int done = -1;
    do {
      done = fcntl(fd.get(), F_OFD_SETLKW, &whole);
    } while (done != 0 && errno == EINTR);
    if (done == 0) return {};
  }
  if (errno == EAGAIN || errno == EACCES) {
    return refuse(options, "another process is using it",
                  options.read_only
                      ? "stop the process that writes it (lsof shows it)"
                      : "stop that process (lsof shows it), or let all of them use --readonly");
  }
  if (errno == EINVAL || errno == ENOLCK || errno == EOPNOTSUPP) {
    log(LogLevel::kWarning, "lock {}: {}: going on without, so take care that nothing else uses it",
        options.path, describe(system_error()));
    return {};
  }
  return refuse_errno(options);
}

Opened<Geometry> file_geometry(const FileOptions& options, const Found& found) {
  Geometry geometry{.capacity_bytes = static_cast<std::uint64_t>(found.status.st_size),
                    .read_only = options.read_only,
                    .can_discard = !options.read_only,
                    .can_write_zeroes = !options.read_only};
  const auto preferred = static_cast<std::uint32_t>(found.status.st_blksize);
  if (std::has_single_bit(preferred) && preferred >= kSectorBytes) {
    geometry.physical_block_bytes = preferred;
    geometry.discard_alignment_bytes = preferred;
  }
  return geometry;
}

Opened<Geometry> device_geometry(const FileOptions& options, const Found& found) {
  const int fd = found.fd.get();
  std::uint64_t bytes = 0;
  int logical = 0;
  unsigned physical = 0;
  unsigned optimal = 0;
  if (ioctl(fd, BLKGETSIZE64, &bytes) != 0 || ioctl(fd, BLKSSZGET, &logical) != 0 ||
      ioctl(fd, BLKPBSZGET, &physical) != 0 || ioctl(fd, BLKIOOPT, &optimal) != 0) {
    return refuse_errno(options);
  }
  const std::uint32_t block = std::max<std::uint32_t>(static_cast<std::uint32_t>(logical), 512);
  return Geometry{.capacity_bytes = bytes,
                  .logical_block_bytes = block,
                  .physical_block_bytes = usable_physical_block(block, physical),
                  .optimal_io_bytes = optimal,
                  .read_only = options.read_only,
                  .can_discard = !options.read_only,
                  .can_write_zeroes = !options.read_only,
                  .discard_alignment_bytes = block};
}

Opened<void> check_size(const FileOptions& options, std::uint64_t bytes) {
  if (bytes == 0) {
    return refuse(options, "it is empty",
                  fmt::format("give it the disk's size, as with: truncate -s 1G {}", options.path));
  }
  if (bytes % kSectorBytes != 0) {
    return refuse(options, fmt::format("its size, {} bytes, is not a multiple of 512", bytes),
                  fmt::format("if it is a raw image, pad it: truncate -s %512 {}", options.path));
  }
  return {};
}

Opened<void> open_direct(const FileOptions& options, const Geometry& geometry, FileTarget& target) {
  const int access = options.read_only ? O_RDONLY : O_RDWR;
  target.direct = reopen(target.buffered, access | O_DIRECT);
  if (!target.direct) return refuse_errno(options);
  target.direct_memory_alignment = geometry.logical_block_bytes;
  target.direct_offset_alignment = geometry.logical_block_bytes;
#ifdef STATX_DIOALIGN
  struct statx status{};
  const bool known = statx(target.direct.get(), "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 &&
                     (status.stx_mask & STATX_DIOALIGN) != 0 && status.stx_dio_offset_align != 0;
  if (known) {
    target.direct_memory_alignment = status.stx_dio_mem_align;
    target.direct_offset_alignment = status.stx_dio_offset_align;
    return {};
  }
#endif
  // Not told: what every disk takes.
  if (!target.is_block_device) {
    target.direct_memory_alignment = 4096;
    target.direct_offset_alignment = 4096;
  }
  return {};
}

class FileBackend : public BlockBackend {
 public:
  FileBackend(FileOptions options, const Geometry& geometry)
      : options_(std::move(options)), geometry_(geometry), rings_(options_.keep_open) {}

  FileTarget& target() { return target_; }
  UringPool& rings() { return rings_; }
  [[nodiscard]] const Geometry& geometry() const override { return geometry_; }
  [[nodiscard]] std::string describe() const override {
    return fmt::format("{} {}, {}{}{}", target_.is_block_device ? "block device" : "file",
                       options_.path, format_size(geometry_.capacity_bytes),
                       geometry_.read_only ? ", read-only" : "", options_.direct ? ", direct" : "");
  }
  Result<std::unique_ptr<BlockChannel>> open_channel(const shm::SharedBytes& region,
                                                     std::uint32_t depth) override;

 private:
  FileOptions options_;
  Geometry geometry_;
  FileTarget target_;
  UringPool rings_;
  std::atomic<bool> told_fallback_ = false;  // said once, not by every queue
};

Result<std::unique_ptr<BlockChannel>> FileBackend::open_channel(const shm::SharedBytes& region,
                                                                std::uint32_t depth) {
  CHECK(depth > 0 && depth <= 32768);
  if (options_.engine == FileEngine::kThreads) return ThreadChannel::create(target_, depth);
  auto channel = UringChannel::create(
      target_, rings_, region, {.depth = depth, .register_memory = options_.register_memory});
  if (channel || options_.engine == FileEngine::kIoUring) return channel;
  if (!told_fallback_.exchange(true)) {
    log(LogLevel::kInfo, "io_uring: {}: using threads for {}", airlock::describe(channel.error()),
        options_.path);
  }
  return ThreadChannel::create(target_, depth);
}

}  // namespace

Opened<std::unique_ptr<BlockBackend>> open_file(const FileOptions& options) {
  Found found = TRY(open_and_look(options));
  TRY(lock(options, found.fd));
  const bool is_block_device = S_ISBLK(found.status.st_mode);
  const Geometry geometry =
      TRY(is_block_device ? device_geometry(options, found) : file_geometry(options, found));
  TRY(check_size(options, geometry.capacity_bytes));
  auto backend = std::make_unique<FileBackend>(options, geometry);
  backend->target().buffered = std::move(found.fd);
  backend->target().name = options.path;
  backend->target().is_block_device = is_block_device;
  backend->target().in_memory = !is_block_device && is_in_memory(backend->target().buffered);
  if (options.direct) TRY(open_direct(options, geometry, backend->target()));
  if (options.engine != FileEngine::kThreads) {
    backend->rings().prepare(options.channels, options.depth);
  }
  return backend;
}

}  // namespace airlock::backend
