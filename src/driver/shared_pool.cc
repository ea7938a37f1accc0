// SPDX-License-Identifier: Apache-2.0
#include "driver/shared_pool.h"

#include <sys/random.h>

#include <array>
#include <utility>

namespace airlock::driver {

namespace {

// In the page that no pool gives out (DMB-DR3).
constexpr std::uint64_t kProofOffset = 64;
constexpr std::size_t kProofBytes = 32;

using Proof = std::array<std::byte, kProofBytes>;

Result<Proof> random_proof() {
  Proof proof{};
  // So few bytes come all at once.
  if (getrandom(proof.data(), proof.size(), 0) < 0) return fail(system_error());
  return proof;
}

// Whether what nobody could guess, written here, is found there.
Result<bool> shows(const shm::SharedBytes& from, const shm::SharedBytes& to) {
  const Proof proof = TRY(random_proof());
  from.copy_in(kProofOffset, proof);
  Proof found{};
  to.copy_out(kProofOffset, found);
  from.fill_zero(kProofOffset, kProofBytes);
  return found == proof;
}

}  // namespace

Result<pool::Pool*> SharedPool::join(MappedRegion& region, std::uint32_t share) {
  const std::scoped_lock held(lock_);
  if (share >= options_.share_bytes.size()) return fail({.code = Errc::kBadIndex, .detail = share});
  TRY(pools_.empty() ? adopt(region) : compare(region));
  region.mapping = {};
  return pools_[share].get();
}

Result<void> SharedPool::adopt(MappedRegion& region) {
  pools_ =
      TRY(pool::Pool::create_parts(region.mapping.bytes(), options_.share_bytes, options_.scrub));
  region_.mapping = std::move(region.mapping);
  region_.file = region.file;
  return {};
}

// A device that lies here shows that it can read the first one's region, or it is refused.
Result<void> SharedPool::compare(const MappedRegion& region) const {
  const shm::SharedBytes mine = region_.mapping.bytes();
  const shm::SharedBytes its = region.mapping.bytes();
  if (its.size() != mine.size()) return fail({.code = Errc::kWrongSize, .address = its.size()});
  if (region.file && region_.file && *region.file != *region_.file) return fail(Errc::kNoRegion);
  if (!TRY(shows(mine, its)) || !TRY(shows(its, mine))) return fail(Errc::kNoRegion);
  return {};
}

}  // namespace airlock::driver
