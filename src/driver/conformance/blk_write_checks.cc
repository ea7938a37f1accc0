// SPDX-License-Identifier: Apache-2.0
//
// A disk's answers to requests that write: VIRTIO 1.3, 5.2.6.2. Only where the options allow it,
// only in the last sectors, and what was there is put back.
#include <algorithm>

#include <fmt/core.h>

#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"
#include "driver/conformance/raw_disk.h"

namespace airlock::driver::conformance {

namespace {

constexpr std::uint64_t kScratchSectors = 4;
constexpr std::uint32_t kScratchBytes = kScratchSectors * spec::VIRTIO_BLK_SECTOR_BYTES;

/// The last sectors of a running disk, put back as they were by restore().
class ScratchSectors {
 public:
  static Result<ScratchSectors> save(CheckContext& ctx) {
    constexpr std::size_t kCapacity = offsetof(spec::VirtioBlkConfig, capacity);
    const std::uint64_t low = TRY(ctx.device_config(kCapacity, Width::k4));
    const std::uint64_t high = TRY(ctx.device_config(kCapacity + 4, Width::k4));
    const std::uint64_t sectors = low | high << 32;
    if (sectors < kScratchSectors) return fail({.code = Errc::kTooSmall, .address = kScratchBytes});
    ScratchSectors scratch(sectors - kScratchSectors);
    TRY(ctx.bring_up());
    scratch.before_ = TRY(scratch.read(ctx));
    return scratch;
  }

  [[nodiscard]] std::uint64_t first() const { return first_; }
  [[nodiscard]] const std::vector<std::byte>& before() const { return before_; }

  [[nodiscard]] Result<std::vector<std::byte>> read(CheckContext& ctx) const {
    const DiskAnswer answer =
        TRY(run_disk_request(ctx, {.sector = first_, .target_bytes = kScratchBytes}));
    if (answer.status != spec::VIRTIO_BLK_S_OK) return fail(Errc::kIoError);
    return answer.target;
  }
  [[nodiscard]] Result<std::uint8_t> write(CheckContext& ctx, std::vector<std::byte> bytes) const {
    const DiskAnswer answer = TRY(run_disk_request(
        ctx, {.type = spec::VIRTIO_BLK_T_OUT, .sector = first_, .source = std::move(bytes)}));
    return answer.status;
  }
  /// Brings the device up anew, writes what was there, and looks whether it is.
  [[nodiscard]] Result<void> restore(CheckContext& ctx) const {
    TRY(ctx.bring_up());
    if (TRY(write(ctx, before_)) != spec::VIRTIO_BLK_S_OK) return fail(Errc::kIoError);
    if (ctx.offers(spec::VIRTIO_BLK_F_FLUSH)) {
      (void)TRY(run_disk_request(ctx, {.type = spec::VIRTIO_BLK_T_FLUSH}));
    }
    return TRY(read(ctx))
    == before_ ? Result<void>() : fail(Errc::kIoError);
  }

 private:
  explicit ScratchSectors(std::uint64_t first) : first_(first) {}

  std::uint64_t first_;
  std::vector<std::byte> before_;
};

std::vector<std::byte> other_bytes(const ScratchSectors& scratch) {
  std::vector<std::byte> bytes = scratch.before();
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = ~bytes[i] ^ static_cast<std::byte>(i % 251);
  return bytes;
}

Finding not_destructive() {
  return skipped("it writes to the disk: only with --destructive");
}

/// What `run` found, once the disk is as it was; that it can't be is worse than anything found.
template <class F>
Result<Finding> with_scratch(CheckContext& ctx, const F& run) {
  const auto scratch = TRY(ScratchSectors::save(ctx));
  Result<Finding> finding = run(scratch);
  if (const auto restored = scratch.restore(ctx); !restored) {
    return failed(fmt::format("sectors {} on could not be restored: {}", scratch.first(),
                              describe(restored.error())));
  }
  return finding;
}

Result<Finding> check_write(CheckContext& ctx) {
  if (!ctx.options().destructive) return not_destructive();
  if (ctx.offers(spec::VIRTIO_BLK_F_RO)) return skipped("the disk is read-only");
  return with_scratch(ctx, [&](const ScratchSectors& scratch) -> Result<Finding> {
    const std::vector<std::byte> bytes = other_bytes(scratch);
    const std::uint8_t status = TRY(scratch.write(ctx, bytes));
    if (status != spec::VIRTIO_BLK_S_OK) return failed(fmt::format("status {}", status));
    if (ctx.offers(spec::VIRTIO_BLK_F_FLUSH)) {
      const DiskAnswer flush = TRY(run_disk_request(ctx, {.type = spec::VIRTIO_BLK_T_FLUSH}));
      if (flush.status != spec::VIRTIO_BLK_S_OK) return failed("the flush failed");
    }
    return TRY(scratch.read(ctx))
    == bytes ? passed() : failed("other bytes are read back");
  });
}

Result<Finding> check_write_zeroes(CheckContext& ctx) {
  if (!ctx.options().destructive) return not_destructive();
  if (!ctx.offers(spec::VIRTIO_BLK_F_WRITE_ZEROES)) return skipped("WRITE_ZEROES is not offered");
  return with_scratch(ctx, [&](const ScratchSectors& scratch) -> Result<Finding> {
    const spec::VirtioBlkDiscardWriteZeroes range{
        .sector = Le64(scratch.first()), .num_sectors = Le32(kScratchSectors), .flags = Le32(0)};
    const auto bytes = std::as_bytes(std::span(&range, 1));
    const DiskAnswer answer = TRY(run_disk_request(
        ctx, {.type = spec::VIRTIO_BLK_T_WRITE_ZEROES, .source = {bytes.begin(), bytes.end()}}));
    if (answer.status != spec::VIRTIO_BLK_S_OK) {
      return failed(fmt::format("status {}", answer.status));
    }
    const auto now = TRY(scratch.read(ctx));
    const bool zero = std::ranges::all_of(now, [](std::byte b) { return b == std::byte{0}; });
    return zero ? passed() : failed("the sectors do not read as zeros");
  });
}

/// A range with flags that no device knows must be refused, and change nothing.
Result<Finding> refuses_flags(CheckContext& ctx, std::uint32_t type, std::uint32_t flags) {
  return with_scratch(ctx, [&](const ScratchSectors& scratch) -> Result<Finding> {
    const spec::VirtioBlkDiscardWriteZeroes range{.sector = Le64(scratch.first()),
                                                  .num_sectors = Le32(kScratchSectors),
                                                  .flags = Le32(flags)};
    const auto bytes = std::as_bytes(std::span(&range, 1));
    const DiskAnswer answer =
        TRY(run_disk_request(ctx, {.type = type, .source = {bytes.begin(), bytes.end()}}));
    if (answer.status != spec::VIRTIO_BLK_S_UNSUPP) {
      return failed(fmt::format("flags {:#x}: status {}", flags, answer.status));
    }
    return TRY(scratch.read(ctx))
    == scratch.before() ? passed() : failed("the disk changed");
  });
}

Result<Finding> check_discard_flags(CheckContext& ctx) {
  if (!ctx.options().destructive) return not_destructive();
  if (!ctx.offers(spec::VIRTIO_BLK_F_DISCARD)) return skipped("DISCARD is not offered");
  return refuses_flags(ctx, spec::VIRTIO_BLK_T_DISCARD, spec::VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
}

Result<Finding> check_write_zeroes_flags(CheckContext& ctx) {
  if (!ctx.options().destructive) return not_destructive();
  if (!ctx.offers(spec::VIRTIO_BLK_F_WRITE_ZEROES)) return skipped("WRITE_ZEROES is not offered");
  return refuses_flags(ctx, spec::VIRTIO_BLK_T_WRITE_ZEROES, 0x8000'0000);
}

Result<Finding> check_read_only(CheckContext& ctx) {
  if (!ctx.options().destructive) return not_destructive();
  if (!ctx.offers(spec::VIRTIO_BLK_F_RO)) return skipped("the disk can be written");
  const auto scratch = TRY(ScratchSectors::save(ctx));
  const std::uint8_t status = TRY(scratch.write(ctx, other_bytes(scratch)));
  if (status != spec::VIRTIO_BLK_S_IOERR) return failed(fmt::format("status {}", status));
  return TRY(scratch.read(ctx))
  == scratch.before() ? passed() : failed("the disk changed");
}

constexpr Check kBlkWriteChecks[] = {
    {"VIRTIO-5.2.6.2/write", "disk: what was written and flushed is read", Needs::kDisk,
     check_write},
    {"VIRTIO-5.2.6.2/write-zeroes", "disk: zeroed sectors read as zeros", Needs::kDisk,
     check_write_zeroes},
    {"VIRTIO-5.2.6.2/discard-flags", "disk: a discard with a flag gives UNSUPP", Needs::kDisk,
     check_discard_flags},
    {"VIRTIO-5.2.6.2/write-zeroes-flags", "disk: an unknown flag gives UNSUPP", Needs::kDisk,
     check_write_zeroes_flags},
    {"VIRTIO-5.2.6.2/read-only", "disk: a read-only one refuses writes with IOERR", Needs::kDisk,
     check_read_only},
};

}  // namespace

std::span<const Check> blk_write_checks() {
  return kBlkWriteChecks;
}

}  // namespace airlock::driver::conformance
