// SPDX-License-Identifier: Apache-2.0
#include "shm/shared_bytes.h"

#include "shm/bulk.h"

namespace airlock::shm {

void SharedBytes::copy_out(std::uint64_t offset, std::span<std::byte> target) const {
  CHECK(airlock_range_within(offset, target.size(), size_));
  if (target.empty()) return;
  note_access({.kind = Access::Kind::kLoad, .address = base_ + offset, .length = target.size()});
  bulk_copy(target.data(), base_ + offset, target.size());
}

void SharedBytes::copy_in(std::uint64_t offset, std::span<const std::byte> source) const {
  CHECK(airlock_range_within(offset, source.size(), size_));
  if (source.empty()) return;
  note_access({.kind = Access::Kind::kStore, .address = base_ + offset, .length = source.size()});
  bulk_copy(base_ + offset, source.data(), source.size());
}

void SharedBytes::fill_zero(std::uint64_t offset, std::uint64_t length) const {
  CHECK(airlock_range_within(offset, length, size_));
  if (length == 0) return;
  note_access({.kind = Access::Kind::kStore, .address = base_ + offset, .length = length});
  bulk_zero(base_ + offset, length);
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
