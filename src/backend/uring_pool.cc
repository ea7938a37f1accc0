// SPDX-License-Identifier: Apache-2.0
#include "backend/uring_pool.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>

#include "base/check.h"

namespace airlock::backend {

namespace {

constexpr std::array kNeeded{IORING_OP_READV,       IORING_OP_WRITEV, IORING_OP_READ_FIXED,
                             IORING_OP_WRITE_FIXED, IORING_OP_FSYNC,  IORING_OP_FALLOCATE,
                             IORING_OP_POLL_ADD,    IORING_OP_NOP};
constexpr std::array kRegisters{IORING_REGISTER_BUFFERS, IORING_UNREGISTER_BUFFERS};

bool does_all_we_need(io_uring& ring) {
  io_uring_probe* const probe = io_uring_get_probe_ring(&ring);
  if (probe == nullptr) return false;
  const bool all = std::ranges::all_of(
      kNeeded, [&](int op) { return io_uring_opcode_supported(probe, op) != 0; });
  io_uring_free_probe(probe);
  return all;
}

/// liburing's calls for these two are in its header, but not in every version of its library.
Result<void> register_with(const Uring& ring, unsigned op, const void* what, std::size_t count) {
  if (syscall(SYS_io_uring_register, ring.ring_fd, op, what, count) < 0)
    return fail(system_error());
  return {};
}

Result<void> restrict_to_needed(const Uring& ring) {
  std::array<io_uring_restriction, kNeeded.size() + kRegisters.size()> allowed{};
  auto next = allowed.begin();
  for (const auto op : kNeeded) {
    next->opcode = IORING_RESTRICTION_SQE_OP;
    (next++)->sqe_op = static_cast<__u8>(op);
  }
  for (const auto op : kRegisters) {
    next->opcode = IORING_RESTRICTION_REGISTER_OP;
    (next++)->register_op = static_cast<__u8>(op);
  }
  return register_with(ring, IORING_REGISTER_RESTRICTIONS, allowed.data(), allowed.size());
}

}  // namespace

Result<std::unique_ptr<Uring>> Uring::create(std::uint32_t depth, int keep_open) {
  CHECK(depth > 0 && depth <= UringPool::kDepthMost);
  io_uring raw{};
  const int error = io_uring_queue_init(std::bit_ceil(depth + 1), &raw, IORING_SETUP_R_DISABLED);
  if (error < 0) return fail(system_error(-error));
  std::unique_ptr<Uring> ring(new Uring(raw, depth));
  if (!does_all_we_need(*ring)) return fail(Errc::kUnsupported);
  if (keep_open >= 0) {
    // What is registered the kernel lets go of when it takes the ring apart, after its requests.
    // (Threads keep all files of their process open.)
    const int registered = io_uring_register_files(ring.get(), &keep_open, 1);
    if (registered < 0) return fail(system_error(-registered));
  }
  TRY(restrict_to_needed(*ring));
  TRY(register_with(*ring, IORING_REGISTER_ENABLE_RINGS, nullptr, 0));
  return ring;
}

void UringPool::prepare(std::uint32_t count, std::uint32_t depth) {
  for (std::uint32_t i = 0; i < count; ++i) {
    auto ring = Uring::create(std::min(depth, kDepthMost), keep_open_);
    if (!ring) return;  // who needs one hears why
    const std::lock_guard lock(mutex_);
    spare_.push_back(std::move(*ring));
    ++kept_;
  }
}

Result<std::unique_ptr<Uring>> UringPool::take(std::uint32_t depth) {
  {
    const std::lock_guard lock(mutex_);
    const auto fits =
        std::ranges::find_if(spare_, [&](const auto& ring) { return ring->depth() >= depth; });
    if (fits != spare_.end()) {
      std::unique_ptr<Uring> ring = std::move(*fits);
      spare_.erase(fits);
      return ring;
    }
  }
  return Uring::create(depth, keep_open_);
}

void UringPool::give_back(std::unique_ptr<Uring> ring) {
  const std::lock_guard lock(mutex_);
  if (spare_.size() < kept_) spare_.push_back(std::move(ring));
}

}  // namespace airlock::backend
