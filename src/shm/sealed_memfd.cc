// SPDX-License-Identifier: Apache-2.0
#include "shm/sealed_memfd.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace airlock::shm {

namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

}  // namespace

Result<SealedMemfd> SealedMemfd::create(const Options& options) {
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  if (options.size == 0) return fail({.code = Errc::kTooSmall, .address = page});
  if (!airlock_is_aligned(options.size, page)) {
    return fail({.code = Errc::kNotAligned,
                 .detail = static_cast<std::uint32_t>(page),
                 .address = options.size});
  }
  const unsigned huge = options.pages == PageKind::kHuge ? MFD_HUGETLB : 0U;
  Fd fd = TRY(own_fd(memfd_create(options.name, MFD_CLOEXEC | MFD_ALLOW_SEALING | huge)));
  if (ftruncate(fd.get(), static_cast<off_t>(options.size)) < 0) return fail(system_error());
  if (fcntl(fd.get(), F_ADD_SEALS, kSeals) < 0) return fail(system_error());
  return SealedMemfd(std::move(fd), options.size);
}

Result<SealedMemfd> SealedMemfd::adopt(Fd fd, std::uint64_t size, PageKind pages) {
  const int seals = fcntl(fd.get(), F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals) return fail(Errc::kUnsealed);
  struct statfs system = {};
  if (fstatfs(fd.get(), &system) < 0) return fail(system_error());
  const bool huge = system.f_type == HUGETLBFS_MAGIC;
  if (huge && pages != PageKind::kHuge) return fail(Errc::kHugePages);
  struct stat status = {};
  if (fstat(fd.get(), &status) < 0) return fail(system_error());
  const auto found = static_cast<std::uint64_t>(status.st_size);
  if (found != size) return fail({.code = Errc::kWrongSize, .address = found});
  return SealedMemfd(std::move(fd), size);
}

void SealedMemfd::discard() const {
  // Where the kernel can't, the memory goes with its last mapping.
  static_cast<void>(fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                              static_cast<off_t>(size_)));
}

Result<Mapping> SealedMemfd::map() const {
  return Mapping::map(fd_, {.length = size_});
}

}  // namespace airlock::shm
