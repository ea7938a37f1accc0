// SPDX-License-Identifier: Apache-2.0
#include "compare/models/pool.h"

#include "compare/models/linux_pool.h"

namespace airlock::compare {

namespace {

constexpr std::uint64_t kPoolBytes = std::uint64_t{16} << 20;

Result<std::unique_ptr<Access>> connect_pool(const GuestSide& guest) {
  return std::make_unique<LinuxPool>(TRY(LinuxPool::make_memory(
      {.private_bytes = guest.private_bytes, .pool_bytes = kPoolBytes, .name = "airlock-pool"})));
}

}  // namespace

const Model kPool{
    .name = "pool",
    .what = "Linux's restricted DMA pool, as a device tree names it (swiotlb's algorithm)",
    .trust =
        "whoever enforces the range (MPU, stage 2); here: the device has the pool's file alone",
    .connect = connect_pool,
    .view = region_view,
};

}  // namespace airlock::compare
