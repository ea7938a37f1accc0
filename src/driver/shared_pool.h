// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "driver/transport.h"
#include "pool/pool.h"

namespace airlock::driver {

/// The region that several devices show, and how it is divided between them. Each device uses a
/// share of it, of a fixed size: what one has in flight is never more, and leaves the others' room
/// alone. A buffer of any share is used in place by all of the devices.
///
///     const auto region = std::make_shared<SharedPool>(SharedPool::Options{{16 << 20, 8 << 20}});
///     auto net = TRY(Net::open(..., {.device = {.shared = region, .share = 0}}));
///     auto disk = TRY(Blk::open(..., {.device = {.shared = region, .share = 1}}));
///     auto buffer = TRY(net->allocate(4096));
///     TRY(disk->write(0, buffer.span()));  // no copy
///
/// Each of the devices can read and change all of it: who shares gives up the isolation of the
/// devices from each other, not that of the driver's memory. Two devices may have one share; then
/// either can take all of its room. Any thread.
class SharedPool {
 public:
  struct Options {
    std::vector<std::uint64_t> share_bytes;  // whole pages; together, and a page more, the region
    pool::Scrub scrub = pool::Scrub::kOnUnmap;
  };

  explicit SharedPool(Options options) : options_(std::move(options)) {}
  SharedPool(const SharedPool&) = delete;
  SharedPool& operator=(const SharedPool&) = delete;

  /// The pool of a share, for a device that shows its region as `region`: of the first one the
  /// mapping is kept, for all; that of each other is compared with it, and given up. It counts as
  /// the same if it is the same bytes of one file, where that can be told, and if what is written
  /// to either is found in the other: so no device gets to see more than it had anyway.
  /// Errors: kBadIndex (there is no such share), kWrongSize, kNoRegion (it is another one), those
  /// of Pool::create_parts(), kSystem.
  Result<pool::Pool*> join(MappedRegion& region, std::uint32_t share);

  /// That of a share. Of devices that are open.
  [[nodiscard]] pool::Pool& pool(std::uint32_t share) { return *pools_.at(share); }

 private:
  Result<void> adopt(MappedRegion& region);
  [[nodiscard]] Result<void> compare(const MappedRegion& region) const;

  const Options options_;
  std::mutex lock_;  // for what follows, until it is made
  MappedRegion region_;
  std::vector<std::unique_ptr<pool::Pool>> pools_;
};

}  // namespace airlock::driver
