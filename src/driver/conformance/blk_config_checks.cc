// SPDX-License-Identifier: Apache-2.0
//
// A disk's configuration: VIRTIO 1.3, 5.2.3 to 5.2.5.
#include <algorithm>

#include <fmt/core.h>

#include "core/range.h"
#include "driver/conformance/check_context.h"
#include "driver/conformance/checks.h"
#include "spec/virtio_blk.h"

namespace airlock::driver::conformance {

namespace {

using BlkCfg = spec::VirtioBlkConfig;

constexpr std::uint8_t kExponentMax = 31;
constexpr std::uint32_t kBlockBytesMax = 1U << 20;

bool is_disk(const CheckContext& ctx) {
  return ctx.device_type() == spec::VIRTIO_ID_BLOCK;
}
Finding no_disk() {
  return skipped("the device is no disk");
}

Result<std::uint32_t> blk_word(CheckContext& ctx, std::size_t offset) {
  return static_cast<std::uint32_t>(TRY(ctx.device_config(offset, Width::k4)));
}

Result<std::uint64_t> blk_capacity(CheckContext& ctx) {
  const std::uint64_t low = TRY(blk_word(ctx, offsetof(BlkCfg, capacity)));
  const std::uint64_t high = TRY(blk_word(ctx, offsetof(BlkCfg, capacity) + 4));
  return low | high << 32;
}

Result<Finding> check_capacity(CheckContext& ctx) {
  if (!is_disk(ctx)) return no_disk();
  const std::uint64_t sectors = TRY(blk_capacity(ctx));
  if (sectors > ~std::uint64_t{0} / spec::VIRTIO_BLK_SECTOR_BYTES) {
    return failed(fmt::format("{:#x} sectors are more than 2^64 bytes", sectors));
  }
  return passed(fmt::format("{} sectors", sectors));
}

Result<Finding> check_early_config(CheckContext& ctx) {
  if (!is_disk(ctx)) return no_disk();
  const std::uint64_t before = TRY(blk_capacity(ctx));
  if (!TRY(ctx.negotiate(ctx.own_features()))) return failed("FEATURES_OK was withheld");
  const std::uint64_t after = TRY(blk_capacity(ctx));
  if (before == after) return passed();
  return failed(fmt::format("capacity {} before FEATURES_OK, {} after", before, after));
}

Result<Finding> check_config_is_fixed(CheckContext& ctx) {
  const auto& place = ctx.capabilities().device;
  if (!is_disk(ctx) || !place) return no_disk();
  const std::uint64_t before = TRY(blk_capacity(ctx));
  TRY(ctx.transport().write({.bar = place->bar, .offset = place->offset, .width = Width::k4},
                            ~before & 0xffff'ffff));
  const std::uint64_t after = TRY(blk_capacity(ctx));
  return before == after ? passed() : failed("capacity can be written");
}

Result<Finding> check_block_size(CheckContext& ctx) {
  if (!is_disk(ctx)) return no_disk();
  if (!ctx.offers(spec::VIRTIO_BLK_F_BLK_SIZE)) return skipped("BLK_SIZE is not offered");
  const std::uint32_t bytes = TRY(blk_word(ctx, offsetof(BlkCfg, blk_size)));
  const bool sound = airlock_is_power_of_two(bytes) && bytes >= spec::VIRTIO_BLK_SECTOR_BYTES &&
                     bytes <= kBlockBytesMax;
  return sound ? passed(fmt::format("{} bytes", bytes)) : failed(fmt::format("{} bytes", bytes));
}

Result<Finding> check_segments(CheckContext& ctx) {
  if (!is_disk(ctx)) return no_disk();
  std::string text;
  if (ctx.offers(spec::VIRTIO_BLK_F_SEG_MAX)) {
    const std::uint32_t most = TRY(blk_word(ctx, offsetof(BlkCfg, seg_max)));
    if (most == 0) return failed("seg_max 0");
    text = fmt::format("{} segments", most);
  }
  if (ctx.offers(spec::VIRTIO_BLK_F_SIZE_MAX)) {
    const std::uint32_t bytes = TRY(blk_word(ctx, offsetof(BlkCfg, size_max)));
    if (bytes < spec::VIRTIO_BLK_SECTOR_BYTES) return failed(fmt::format("size_max {}", bytes));
    text += fmt::format("{}{} bytes each", text.empty() ? "" : ", ", bytes);
  }
  return text.empty() ? skipped("neither SEG_MAX nor SIZE_MAX is offered") : passed(text);
}

Result<Finding> check_topology(CheckContext& ctx) {
  if (!is_disk(ctx)) return no_disk();
  if (!ctx.offers(spec::VIRTIO_BLK_F_TOPOLOGY)) return skipped("TOPOLOGY is not offered");
  const std::uint64_t exponent =
      TRY(ctx.device_config(offsetof(BlkCfg, physical_block_exp), Width::k1));
  const std::uint64_t first = TRY(ctx.device_config(offsetof(BlkCfg, alignment_offset), Width::k1));
  if (exponent > kExponentMax) return failed(fmt::format("physical_block_exp {}", exponent));
  if (first >> exponent != 0) {
    return failed(fmt::format("alignment_offset {} of 2^{} blocks", first, exponent));
  }
  return passed();
}

Result<Finding> check_queues(CheckContext& ctx) {
  if (!is_disk(ctx)) return no_disk();
  if (!ctx.offers(spec::VIRTIO_BLK_F_MQ)) return skipped("MQ is not offered");
  const std::uint64_t said = TRY(ctx.device_config(offsetof(BlkCfg, num_queues), Width::k2));
  const std::uint16_t there = TRY(ctx.common().queue_count());
  if (said == 0 || said > there) {
    return failed(fmt::format("{} queues in the configuration, {} in the registers", said, there));
  }
  return passed(fmt::format("{} queues", said));
}

Result<Finding> check_flush_offered(CheckContext& ctx) {
  if (!is_disk(ctx)) return no_disk();
  if (ctx.offers(spec::VIRTIO_BLK_F_FLUSH)) return passed();
  if (ctx.offers(spec::VIRTIO_BLK_F_CONFIG_WCE)) return failed("CONFIG_WCE without FLUSH");
  return passed("it is not, which SHOULD be");
}

Result<Finding> check_padding(CheckContext& ctx) {
  if (!is_disk(ctx)) return no_disk();
  std::vector<std::size_t> unused{offsetof(BlkCfg, unused0)};
  // Where no field follows, the configuration may end before its padding.
  if (ctx.offers(spec::VIRTIO_BLK_F_SECURE_ERASE) || ctx.offers(spec::VIRTIO_BLK_F_ZONED)) {
    for (std::size_t i = 0; i < sizeof(BlkCfg::unused1); ++i)
      unused.push_back(offsetof(BlkCfg, unused1) + i);
  }
  for (const std::size_t offset : unused) {
    const std::uint64_t value = TRY(ctx.device_config(offset, Width::k1));
    if (value != 0) return failed(fmt::format("byte {} is {:#x}", offset, value));
  }
  return passed();
}

Result<Finding> check_discard_limits(CheckContext& ctx) {
  if (!is_disk(ctx)) return no_disk();
  struct Limit {
    unsigned bit;
    std::size_t field;
    const char* name;
  };
  constexpr Limit kLimits[] = {
      {.bit = spec::VIRTIO_BLK_F_DISCARD,
       .field = offsetof(BlkCfg, max_discard_sectors),
       .name = "max_discard_sectors"},
      {.bit = spec::VIRTIO_BLK_F_DISCARD,
       .field = offsetof(BlkCfg, max_discard_seg),
       .name = "max_discard_seg"},
      {.bit = spec::VIRTIO_BLK_F_WRITE_ZEROES,
       .field = offsetof(BlkCfg, max_write_zeroes_sectors),
       .name = "max_write_zeroes_sectors"},
      {.bit = spec::VIRTIO_BLK_F_WRITE_ZEROES,
       .field = offsetof(BlkCfg, max_write_zeroes_seg),
       .name = "max_write_zeroes_seg"},
      {.bit = spec::VIRTIO_BLK_F_SECURE_ERASE,
       .field = offsetof(BlkCfg, max_secure_erase_sectors),
       .name = "max_secure_erase_sectors"},
      {.bit = spec::VIRTIO_BLK_F_SECURE_ERASE,
       .field = offsetof(BlkCfg, max_secure_erase_seg),
       .name = "max_secure_erase_seg"},
  };
  bool any = false;
  for (const Limit& one : kLimits) {
    if (!ctx.offers(one.bit)) continue;
    any = true;
    if (TRY(blk_word(ctx, one.field)) == 0) return failed(fmt::format("{} is 0", one.name));
  }
  return any ? passed() : skipped("neither DISCARD, WRITE_ZEROES nor SECURE_ERASE is offered");
}

constexpr Check kBlkConfigChecks[] = {
    {"VIRTIO-5.2.4/capacity", "disk: the capacity", Needs::kRegisters, check_capacity},
    {"VIRTIO-2.5.2", "disk: the configuration can be read before FEATURES_OK", Needs::kRegisters,
     check_early_config},
    {"VIRTIO-5.2.4/fixed", "disk: a driver can't write the capacity", Needs::kRegisters,
     check_config_is_fixed},
    {"VIRTIO-5.2.4/blk-size", "disk: the block size is a power of two from 512 on",
     Needs::kRegisters, check_block_size},
    {"VIRTIO-5.2.4/segments", "disk: limits of a request are no trap", Needs::kRegisters,
     check_segments},
    {"VIRTIO-5.2.4/topology", "disk: exponent and alignment make sense", Needs::kRegisters,
     check_topology},
    {"VIRTIO-5.2.4/num-queues", "disk: as many queues as there are", Needs::kRegisters,
     check_queues},
    {"VIRTIO-5.2.5.2/flush", "disk: FLUSH is offered", Needs::kRegisters, check_flush_offered},
    {"VIRTIO-5.2.5.2/padding", "disk: unused bytes are 0", Needs::kRegisters, check_padding},
    {"VIRTIO-5.2.4/limits", "disk: limits of discard and write zeroes", Needs::kRegisters,
     check_discard_limits},
};

}  // namespace

std::span<const Check> blk_config_checks() {
  return kBlkConfigChecks;
}

}  // namespace airlock::driver::conformance
