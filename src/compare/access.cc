// SPDX-License-Identifier: Apache-2.0
#include "compare/access.h"

#include "base/check.h"
#include "spec/virtio.h"

namespace airlock::compare {

Result<std::uint64_t> Access::choose(std::uint64_t offered) const {
  const std::uint64_t needed = spec::feature(spec::VIRTIO_F_VERSION_1);
  if ((offered & needed) == 0) {
    return fail({.code = Errc::kUnsupported, .detail = spec::VIRTIO_F_VERSION_1});
  }
  return offered & (needed | spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM));
}

Result<std::uint64_t> Access::choose_of_platform(std::uint64_t offered) const {
  const std::uint64_t chosen = TRY(Access::choose(offered));
  if ((chosen & spec::feature(spec::VIRTIO_F_ACCESS_PLATFORM)) == 0) {
    return fail({.code = Errc::kUnsupported, .detail = spec::VIRTIO_F_ACCESS_PLATFORM});
  }
  return chosen;
}

Result<std::span<std::byte>> Access::allocate_buffer(std::uint64_t offset, std::uint64_t bytes) {
  CHECK(offset >= PrivateMemory::kReserved);
  return private_memory().span().subspan(offset, bytes);
}

}  // namespace airlock::compare
