// SPDX-License-Identifier: Apache-2.0
//
// Chains and indices that break the rules of the split ring, VIRTIO 1.3, 2.7. What the device does
// then is 2.1.2: DEVICE_NEEDS_RESET and a configuration interrupt.
#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"
#include "driver/conformance/raw_disk.h"
#include "driver/conformance/violation.h"

namespace airlock::driver::conformance {

namespace {

using spec::VIRTQ_DESC_F_INDIRECT;
using spec::VIRTQ_DESC_F_NEXT;
using spec::VIRTQ_DESC_F_WRITE;

constexpr std::uint32_t kSector = spec::VIRTIO_BLK_SECTOR_BYTES;

/// Brings the device up, has `spoil` change an honest read, and only then offers it: a device that
/// polls looks at once.
template <class F>
Result<Finding> spoiled(CheckContext& ctx, const F& spoil) {
  TRY(ctx.bring_up());
  put_disk_request(ctx, {.target_bytes = kSector});
  spoil(ctx.queue());
  ctx.queue().make_available(0);
  ctx.queue().remember();
  TRY(ctx.notify());
  return expect_violation(ctx);
}

/// The descriptor of the data, writable.
airlock_descriptor data_descriptor(const RawQueue& queue, unsigned flags, std::uint16_t next) {
  return {.address = queue.data_address(kDiskDataAt),
          .length = kSector,
          .flags = static_cast<std::uint16_t>(flags),
          .next = next};
}

Result<Finding> check_loop(CheckContext& ctx) {
  return spoiled(ctx, [](RawQueue& queue) {
    queue.put_descriptor(1, data_descriptor(queue, VIRTQ_DESC_F_WRITE | VIRTQ_DESC_F_NEXT, 1));
  });
}

Result<Finding> check_loop_of_two(CheckContext& ctx) {
  return spoiled(ctx, [](RawQueue& queue) {
    queue.put_descriptor(1, data_descriptor(queue, VIRTQ_DESC_F_WRITE | VIRTQ_DESC_F_NEXT, 2));
    queue.put_descriptor(2, data_descriptor(queue, VIRTQ_DESC_F_WRITE | VIRTQ_DESC_F_NEXT, 1));
  });
}

Result<Finding> check_next_out_of_range(CheckContext& ctx) {
  return spoiled(ctx, [](RawQueue& queue) {
    const auto beyond = static_cast<std::uint16_t>(queue.size().value());
    queue.put_descriptor(1, data_descriptor(queue, VIRTQ_DESC_F_WRITE | VIRTQ_DESC_F_NEXT, beyond));
  });
}

Result<Finding> check_head_out_of_range(CheckContext& ctx) {
  for (const std::uint32_t head : {ctx.queue().size().value(), 0xffffU}) {
    TRY(ctx.bring_up());
    ctx.queue().make_available(static_cast<std::uint16_t>(head));
    ctx.queue().remember();
    TRY(ctx.notify());
    Finding finding = TRY(expect_violation(ctx));
    if (finding.verdict != Verdict::kPass) return finding;
  }
  return passed();
}

Result<Finding> check_index_jump(CheckContext& ctx) {
  for (const std::uint32_t index : {ctx.queue().size().value() + 1, 0x8000U, 0xffffU}) {
    TRY(ctx.bring_up());
    ctx.queue().set_avail_index(static_cast<std::uint16_t>(index));
    ctx.queue().remember();
    TRY(ctx.notify());
    Finding finding = TRY(expect_violation(ctx));
    if (finding.verdict != Verdict::kPass) return finding;
  }
  return passed();
}

Result<Finding> check_index_goes_back(CheckContext& ctx) {
  TRY(ctx.bring_up());
  Finding first = TRY(read_first_sector(ctx));
  if (first.verdict != Verdict::kPass) return first;
  ctx.queue().set_avail_index(0);
  ctx.queue().remember();
  TRY(ctx.notify());
  return expect_violation(ctx);
}

Result<Finding> check_order(CheckContext& ctx) {
  return spoiled(ctx, [](RawQueue& queue) {
    queue.put_descriptor(1, data_descriptor(queue, VIRTQ_DESC_F_WRITE | VIRTQ_DESC_F_NEXT, 2));
    queue.put_descriptor(2, data_descriptor(queue, VIRTQ_DESC_F_NEXT, 3));
    queue.put_descriptor(3, data_descriptor(queue, VIRTQ_DESC_F_WRITE, 0));
  });
}

Result<Finding> check_unknown_flags(CheckContext& ctx) {
  return spoiled(ctx, [](RawQueue& queue) {
    queue.put_descriptor(
        1, data_descriptor(queue, 0x8000U | VIRTQ_DESC_F_WRITE | VIRTQ_DESC_F_NEXT, 2));
  });
}

/// This driver never accepts VIRTIO_F_INDIRECT_DESC.
Result<Finding> check_indirect(CheckContext& ctx) {
  return spoiled(ctx, [](RawQueue& queue) {
    queue.put_descriptor(0, data_descriptor(queue, VIRTQ_DESC_F_INDIRECT, 0));
  });
}

/// Two buffers of nearly 2^32 bytes: more than a chain may have, and more than most regions.
Result<Finding> check_too_many_bytes(CheckContext& ctx) {
  return spoiled(ctx, [](RawQueue& queue) {
    for (const std::uint16_t index : {std::uint16_t{1}, std::uint16_t{2}}) {
      airlock_descriptor huge = data_descriptor(queue, VIRTQ_DESC_F_WRITE | VIRTQ_DESC_F_NEXT,
                                                static_cast<std::uint16_t>(index + 1));
      huge.length = 0xffff'f000;
      queue.put_descriptor(index, huge);
    }
    queue.put_descriptor(3, data_descriptor(queue, VIRTQ_DESC_F_WRITE, 0));
  });
}

constexpr Check kChainChecks[] = {
    {"VIRTIO-2.1.2/loop", "a descriptor that is its own next", Needs::kDisk, check_loop},
    {"VIRTIO-2.1.2/loop-of-two", "two descriptors that are each other's next", Needs::kDisk,
     check_loop_of_two},
    {"VIRTIO-2.1.2/next", "a next beyond the queue", Needs::kDisk, check_next_out_of_range},
    {"VIRTIO-2.1.2/head", "a head beyond the queue", Needs::kDisk, check_head_out_of_range},
    {"VIRTIO-2.1.2/index-jump", "an available index that runs ahead", Needs::kDisk,
     check_index_jump},
    {"VIRTIO-2.1.2/index-back", "an available index that goes back", Needs::kDisk,
     check_index_goes_back},
    {"VIRTIO-2.1.2/order", "a readable descriptor after a writable one", Needs::kDisk, check_order},
    {"VIRTIO-2.1.2/flags", "flags that have no meaning", Needs::kDisk, check_unknown_flags},
    {"VIRTIO-2.1.2/indirect", "an indirect table that was not negotiated", Needs::kDisk,
     check_indirect},
    {"VIRTIO-2.1.2/bytes", "a chain of more than 2^32 bytes", Needs::kDisk, check_too_many_bytes},
};

}  // namespace

std::span<const Check> chain_checks() {
  return kChainChecks;
}

}  // namespace airlock::driver::conformance
