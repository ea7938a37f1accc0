// SPDX-License-Identifier: Apache-2.0
#include "compare/models/shared.h"

#include <algorithm>

#include "compare/models/linux_pool.h"

namespace airlock::compare {

namespace {

class SharedAccess final : public LinuxPool {
 public:
  using LinuxPool::LinuxPool;

  // SYS-5: Linux's virtio_check_mem_acc_cb. Without the bit a device takes addresses for physical
  // ones, and would be given private memory.
  [[nodiscard]] Result<std::uint64_t> choose(std::uint64_t offered) const override {
    return choose_of_platform(offered);
  }
};

Result<std::unique_ptr<Access>> connect_shared(const GuestSide& guest) {
  return std::make_unique<SharedAccess>(
      TRY(LinuxPool::make_memory({.private_bytes = guest.private_bytes,
                                  .pool_bytes = shared_pool_bytes(guest.private_bytes),
                                  .name = "airlock-shared"})));
}

}  // namespace

// sev_setup_arch(), arch/x86/mm/mem_encrypt.c of Linux.
std::uint64_t shared_pool_bytes(std::uint64_t ram_bytes) {
  constexpr std::uint64_t kLeast = std::uint64_t{64} << 20;
  constexpr std::uint64_t kMost = std::uint64_t{1} << 30;
  constexpr std::uint64_t kPercent = 6;
  const std::uint64_t share = ram_bytes / 100 * kPercent / kPageBytes * kPageBytes;
  return std::clamp(share, kLeast, kMost);
}

const Model kShared{
    .name = "shared",
    .what = "platform sharing: pool and rings made shared at the start (SEV's way)",
    .trust = "the processor, to which the host is a stranger; here: the device has the shared file",
    .connect = connect_shared,
    .view = region_view,
};

}  // namespace airlock::compare
