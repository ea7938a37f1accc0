// SPDX-License-Identifier: Apache-2.0
#include "device/shared_region.h"

#include "base/check.h"

namespace airlock::device {

Result<std::shared_ptr<SharedRegion>> SharedRegion::create(const Options& options) {
  std::shared_ptr<SharedRegion> region(new SharedRegion(options));
  TRY(region->renew());
  return region;
}

Result<void> SharedRegion::renew() {
  memfd_ = TRY(shm::SealedMemfd::create(
      {.name = "airlock-region", .size = options_.bytes, .pages = options_.pages}));
  used_ = false;
  return {};
}

Result<shm::SealedMemfd> SharedRegion::file() {
  const std::scoped_lock held(lock_);
  return shm::SealedMemfd::adopt(TRY(memfd_.fd().duplicate()), options_.bytes, options_.pages);
}

Result<void> SharedRegion::enter() {
  const std::scoped_lock held(lock_);
  ++clients_;
  // Not only with the first client: where that found no memory, none may get the old region.
  if (used_) TRY(renew());
  return {};
}

void SharedRegion::leave() {
  const std::scoped_lock held(lock_);
  CHECK(clients_ > 0);
  if (--clients_ > 0) return;
  memfd_.discard();
  used_ = true;
}

}  // namespace airlock::device
