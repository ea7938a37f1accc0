// SPDX-License-Identifier: Apache-2.0
//
// A source of random numbers: VIRTIO 1.3, 5.4.
#include <algorithm>
#include <vector>

#include <fmt/core.h>

#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"
#include "driver/conformance/violation.h"
#include "spec/virtio_ring.h"

namespace airlock::driver::conformance {

namespace {

constexpr std::uint32_t kRngBytes = 256;

bool is_rng(const CheckContext& ctx) {
  return ctx.device_type() == spec::VIRTIO_ID_RNG;
}
Finding no_rng() {
  return skipped("the device is no source of random numbers");
}

/// What one request for `bytes` at `offset` of the data area brings.
Result<ring::UsedElement> ask(CheckContext& ctx, std::uint64_t offset, std::uint32_t bytes) {
  RawQueue& queue = ctx.queue();
  const Part part{.offset = offset, .length = bytes, .writable = true};
  queue.put_chain(0, std::span(&part, 1));
  queue.make_available(0);
  TRY(ctx.notify());
  TRY(ctx.wait_used(queue.avail_index()));
  return queue.used(static_cast<std::uint16_t>(queue.avail_index() - 1));
}

std::vector<std::byte> data_at(CheckContext& ctx, std::uint64_t offset, std::uint32_t bytes) {
  std::vector<std::byte> data(bytes);
  ctx.queue().data().copy_out(offset, data);
  return data;
}

Result<Finding> check_one_queue(CheckContext& ctx) {
  if (!is_rng(ctx)) return no_rng();
  const std::uint16_t queues = TRY(ctx.common().queue_count());
  return queues >= 1 ? passed(fmt::format("{} queues", queues)) : failed("no queue");
}

Result<Finding> check_bytes(CheckContext& ctx) {
  if (!is_rng(ctx)) return no_rng();
  TRY(ctx.bring_up());
  const auto used = TRY(ask(ctx, 0, kRngBytes));
  if (used.id != 0) return failed(fmt::format("head 0 came back as id {}", used.id));
  if (used.length == 0) return failed("no bytes at all");
  if (used.length > kRngBytes) {
    return failed(fmt::format("{} bytes of {}", used.length, kRngBytes));
  }
  return passed(fmt::format("{} of {} bytes", used.length, kRngBytes));
}

Result<Finding> check_rng_beyond(CheckContext& ctx) {
  if (!is_rng(ctx)) return no_rng();
  TRY(ctx.bring_up());
  const auto before = data_at(ctx, kRngBytes, kRngBytes);
  TRY(ask(ctx, 0, kRngBytes));
  return data_at(ctx, kRngBytes, kRngBytes) == before ? passed()
                                                      : failed("it wrote beyond its buffer");
}

Result<Finding> check_differ(CheckContext& ctx) {
  if (!is_rng(ctx)) return no_rng();
  TRY(ctx.bring_up());
  const auto first = TRY(ask(ctx, 0, kRngBytes));
  const auto second = TRY(ask(ctx, kRngBytes, kRngBytes));
  const std::uint32_t bytes = std::min(first.length, second.length);
  // Of fewer, two that are the same may be chance.
  if (bytes < 16) return skipped(fmt::format("it gave only {} bytes", bytes));
  if (bytes > kRngBytes) return failed(fmt::format("{} bytes of {}", bytes, kRngBytes));
  return data_at(ctx, 0, bytes) != data_at(ctx, kRngBytes, bytes)
             ? passed()
             : failed("two requests brought the same bytes");
}

Result<Finding> check_rng_buffer_outside(CheckContext& ctx) {
  if (!is_rng(ctx)) return no_rng();
  TRY(ctx.bring_up());
  ctx.queue().put_descriptor(0, {.address = ctx.region_end(),
                                 .length = kRngBytes,
                                 .flags = spec::VIRTQ_DESC_F_WRITE,
                                 .next = 0});
  ctx.queue().make_available(0);
  ctx.queue().remember();
  TRY(ctx.notify());
  return expect_violation(ctx);
}

constexpr Check kRngChecks[] = {
    {"VIRTIO-5.4.2", "random numbers: there is a queue", Needs::kRegisters, check_one_queue},
    {"VIRTIO-5.4.6.2/bytes", "random numbers: one or more, and no more than asked for",
     Needs::kRegion, check_bytes},
    {"VIRTIO-5.4.6.2/beyond", "random numbers: nothing is written beyond the buffer",
     Needs::kRegion, check_rng_beyond},
    {"VIRTIO-5.4.6.2/differ", "random numbers: two requests bring different ones", Needs::kRegion,
     check_differ},
    {"DEF-5/rng-buffer-outside", "random numbers: a buffer beyond the region", Needs::kRegion,
     check_rng_buffer_outside},
};

}  // namespace

std::span<const Check> rng_checks() {
  return kRngChecks;
}

}  // namespace airlock::driver::conformance
