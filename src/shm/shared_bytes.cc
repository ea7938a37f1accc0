// SPDX-License-Identifier: Apache-2.0
#include "shm/shared_bytes.h"

namespace airlock::shm {

namespace {

// One call that the compiler can't look into, and a barrier behind it: neither end may be read
// again in place of the copy. (memcpy may load a byte twice, where its blocks overlap; what is
// looked at afterwards is the copy alone.)
[[gnu::noinline]] void copy_once(std::byte* target, const std::byte* source, std::size_t length) {
  std::memcpy(target, source, length);
  asm volatile("" ::: "memory");
}

}  // namespace

void SharedBytes::copy_out(std::uint64_t offset, std::span<std::byte> target) const {
  CHECK(airlock_range_within(offset, target.size(), size_));
  if (target.empty()) return;
  note_access({.kind = Access::Kind::kLoad, .address = base_ + offset, .length = target.size()});
  copy_once(target.data(), base_ + offset, target.size());
}

void SharedBytes::copy_in(std::uint64_t offset, std::span<const std::byte> source) const {
  CHECK(airlock_range_within(offset, source.size(), size_));
  if (source.empty()) return;
  note_access({.kind = Access::Kind::kStore, .address = base_ + offset, .length = source.size()});
  copy_once(base_ + offset, source.data(), source.size());
}

void SharedBytes::fill_zero(std::uint64_t offset, std::uint64_t length) const {
  CHECK(airlock_range_within(offset, length, size_));
  if (length == 0) return;
  note_access({.kind = Access::Kind::kStore, .address = base_ + offset, .length = length});
  std::memset(base_ + offset, 0, length);
  asm volatile("" ::: "memory");
}

Result<SharedBytes> SharedBytes::slice(std::uint64_t offset, std::uint64_t length) const {
  if (!airlock_range_within(offset, length, size_)) {
    return fail({.code = Errc::kOutOfRange,
                 .detail = static_cast<std::uint32_t>(length),
                 .address = offset});
  }
  return SharedBytes(base_ + offset, length);
}

}  // namespace airlock::shm
