// SPDX-License-Identifier: Apache-2.0
#include "shm/mapping.h"

#include <sys/mman.h>
#include <unistd.h>

namespace airlock::shm {

Result<Mapping> Mapping::map(const Fd& fd, const Options& options) {
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  if (options.length == 0) return fail({.code = Errc::kTooSmall, .address = page});
  if (!airlock_is_aligned(options.offset, page)) {
    return fail({.code = Errc::kNotAligned,
                 .detail = static_cast<std::uint32_t>(page),
                 .address = options.offset});
  }
  const int protection =
      options.protection == Protection::kRead ? PROT_READ : PROT_READ | PROT_WRITE;
  void* const base = mmap(nullptr, options.length, protection, MAP_SHARED, fd.get(),
                          static_cast<off_t>(options.offset));
  if (base == MAP_FAILED) return fail(system_error());
  return Mapping(static_cast<std::byte*>(base), options.length);
}

Mapping::~Mapping() {
  if (base_ != nullptr) munmap(base_, size_);
}

Mapping::Mapping(Mapping&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(base_, other.base_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace airlock::shm
