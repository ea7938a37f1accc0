// SPDX-License-Identifier: Apache-2.0
#include "device/rng/rng_queue.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/check.h"
#include "device/ring_task.h"

namespace airlock::device {

namespace {

/// Chains of one poll(), and what one of them gets at most: a longer one gets less than it has room
/// for, and its driver asks again.
constexpr unsigned kRngBatchChains = 16;
constexpr std::uint32_t kChainBytes = 65536;

/// From the kernel straight into the region: no copy of them stays here. Its pool was ready when
/// the device was made, so that there are as many as one asks for.
void fill_random(const shm::SharedBytes& target) {
  const iovec place = target.for_kernel();
  auto* at = static_cast<std::byte*>(place.iov_base);
  std::size_t left = place.iov_len;
  while (left > 0) {
    const ssize_t count = ::getrandom(at, left, 0);
    CHECK(count > 0 || errno == EINTR);
    if (count <= 0) continue;
    at += count;
    left -= static_cast<std::size_t>(count);
  }
}

class RngQueue final : public RingTask {
 public:
  RngQueue(const QueueContext& context, ring::DeviceQueue ring, RngAllowance& allowance,
           RngMetrics& metrics)
      : RingTask(context, std::move(ring)), allowance_(allowance), metrics_(metrics) {}

  [[nodiscard]] int completion_fd() const override { return allowance_.fd(); }

 protected:
  Result<bool> serve() override;

 private:
  Result<void> check() const;

  RngAllowance& allowance_;
  RngMetrics& metrics_;
  ring::Chain chain_;
  std::vector<shm::SharedBytes> segments_;
  bool waiting_ = false;  // for the allowance
};

Result<bool> RngQueue::serve() {
  const auto now =
      allowance_.is_limited() ? RngAllowance::Clock::now() : RngAllowance::Clock::time_point();
  bool any = false;
  for (unsigned i = 0; i < kRngBatchChains; ++i) {
    const std::uint64_t left = allowance_.left(now);
    if (left == 0) {
      if (!std::exchange(waiting_, true)) ++metrics_.waits;
      break;
    }
    waiting_ = false;
    if (!TRY(take(chain_))) break;
    TRY(check());
    const std::uint64_t wanted = std::min<std::uint64_t>(chain_.writable_bytes(), kChainBytes);
    const auto bytes = static_cast<std::uint32_t>(std::min(wanted, left));
    segments_.clear();
    MUST(chain_.append_writable({.offset = 0, .length = bytes}, segments_));
    for (const shm::SharedBytes& segment : segments_)
      fill_random(segment);
    allowance_.spend(bytes, now);
    give_back(chain_, bytes);
    ++metrics_.requests;
    metrics_.bytes += bytes;
    any = true;
  }
  return any;
}

// 5.4.6.1: no buffers for the device to read. One byte at least can be written then.
Result<void> RngQueue::check() const {
  if (chain_.readable_bytes() > 0) return broken_rule(Errc::kBadOrder);
  if (chain_.writable_bytes() == 0) return broken_rule(Errc::kTooSmall);
  return {};
}

}  // namespace

Result<std::unique_ptr<QueueTask>> make_rng_queue(const QueueContext& context,
                                                  RngAllowance& allowance, RngMetrics& metrics) {
  auto ring = TRY(RingTask::open_ring(context));
  return std::make_unique<RngQueue>(context, std::move(ring), allowance, metrics);
}

}  // namespace airlock::device
