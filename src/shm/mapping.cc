// SPDX-License-Identifier: Apache-2.0
#include "shm/mapping.h"

#include <sys/mman.h>
#include <unistd.h>

#include <bit>

#include "base/checked.h"

namespace airlock::shm {

namespace {

// Addresses that nothing else gets, and no memory.
std::byte* reserve(std::byte* place, std::uint64_t size) {
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* const base =
      mmap(place, size, PROT_NONE, kFlags | (place != nullptr ? MAP_FIXED : 0), -1, 0);
  return base == MAP_FAILED ? nullptr : static_cast<std::byte*>(base);
}

}  // namespace

Result<Mapping> Mapping::map(const Fd& fd, const Options& options) {
  return map_at(fd, options, nullptr);
}

Result<Mapping> Mapping::map_at(const Fd& fd, const Options& options, std::byte* place) {
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  if (options.length == 0) return fail({.code = Errc::kTooSmall, .address = page});
  if (!airlock_is_aligned(options.offset, page)) {
    return fail({.code = Errc::kNotAligned,
                 .detail = static_cast<std::uint32_t>(page),
                 .address = options.offset});
  }
  const int protection =
      options.protection == Protection::kRead ? PROT_READ : PROT_READ | PROT_WRITE;
  void* const base =
      mmap(place, options.length, protection, MAP_SHARED | (place != nullptr ? MAP_FIXED : 0),
           fd.get(), static_cast<off_t>(options.offset));
  if (base == MAP_FAILED) return fail(system_error());
  return Mapping(static_cast<std::byte*>(base), options.length);
}

Mapping::~Mapping() {
  if (base_ == nullptr) return;
  if (reserved_) {
    CHECK(reserve(base_, size_) == base_);  // or somebody else's memory would come to lie there
  } else {
    munmap(base_, size_);
  }
}

Mapping::Mapping(Mapping&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      reserved_(std::exchange(other.reserved_, false)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(base_, other.base_);
  std::swap(size_, other.size_);
  std::swap(reserved_, other.reserved_);
  return *this;
}

Result<Reservation> Reservation::create(std::uint64_t size) {
  const auto room = checked_add(size, kAlignment);
  std::byte* const base = room ? reserve(nullptr, *room) : nullptr;
  if (base == nullptr) return fail(room ? system_error() : Error{.code = Errc::kTooLarge});
  // What was needed to align it goes back.
  const std::uint64_t before = (kAlignment - std::bit_cast<std::uintptr_t>(base)) % kAlignment;
  if (before != 0) munmap(base, before);
  munmap(base + before + size, kAlignment - before);
  return Reservation(Mapping(base + before, size));
}

Result<Mapping> Reservation::map(const Fd& fd, const Mapping::Options& options,
                                 std::uint64_t at) const {
  CHECK(airlock_range_within(at, options.length, addresses_.size_));
  std::byte* const place = addresses_.base_ + at;
  auto mapping = Mapping::map_at(fd, options, place);
  if (mapping) {
    mapping->reserved_ = true;
  } else {
    // A mapping that fails may have made room for itself.
    CHECK(options.length == 0 || reserve(place, options.length) == place);
  }
  return mapping;
}

}  // namespace airlock::shm
