// SPDX-License-Identifier: Apache-2.0
//
// `airlock blk verify`.
#include <random>

#include <nlohmann/json.hpp>

#include "base/size.h"
#include "cli/blk_verifier.h"
#include "cli/disk.h"

namespace airlock::cli {

namespace {

constexpr std::uint64_t kCapacityMax = std::uint64_t{256} << 30U;

}  // namespace

Outcome blk_verify(BlkVerifyOptions options) {
  while (options.seed == 0)
    options.seed = std::random_device{}();
  auto disk = open_disk(options.device, {.device = {.ring_features = options.ring_features,
                                                    .encryption = options.encryption}});
  if (!disk) return std::unexpected(disk.error());
  const driver::BlkInfo& info = disk->blk->info();
  if (info.read_only) return failed("verify", "the disk is read-only", "it overwrites the disk");
  if (options.depth_max == 0 || options.block_max < info.block_bytes) {
    return usage("verify", "no depth or no block fits these limits",
                 "see airlock blk verify --help");
  }
  if (info.capacity_bytes > kCapacityMax) {
    return failed("verify",
                  fmt::format("the disk says it has {}", format_size(info.capacity_bytes)),
                  fmt::format("use one of {} at most: each sector costs four bytes of memory",
                              format_size(kCapacityMax)));
  }
  BlkVerifier verifier(*disk->blk, options);
  const auto done = verifier.run();
  if (!done) {
    const auto wrong = verifier.mismatch();
    return failed("verify",
                  wrong ? fmt::format("sector {} is not what was written", *wrong / kSectorBytes)
                        : describe(done.error()),
                  fmt::format("repeat with --seed {}", options.seed));
  }
  const VerifyCounts& counts = verifier.counts();
  const driver::BlkStats stats = disk->blk->stats();
  const nlohmann::ordered_json json = {
      {"seed", options.seed},
      {"writes", counts.writes},
      {"reads", counts.reads},
      {"in_place", counts.in_place},
      {"bytes_written", counts.bytes_written},
      {"bytes_checked", counts.bytes_checked},
      {"pool_full", stats.pool_full},
      {"ring_full", stats.ring_full},
      {"checksum_expected", fmt::format("{:016x}", verifier.expected_sum())},
      {"checksum_disk", fmt::format("{:016x}", verifier.disk_sum())},
  };
  if (verifier.expected_sum() != verifier.disk_sum()) {
    return failed("verify", "the checksums differ",
                  fmt::format("repeat with --seed {}", options.seed));
  }
  if (options.json) {
    fmt::print("{}\n", json.dump(2));
  } else {
    fmt::print(
        "verified {} in {} writes, {} reads ({} without a copy); checked {}; checksum {:016x}\n",
        format_size(counts.bytes_written / (1U << 20U) * (1U << 20U)), counts.writes, counts.reads,
        counts.in_place, format_size(counts.bytes_checked / (1U << 20U) * (1U << 20U)),
        verifier.disk_sum());
  }
  return {};
}

}  // namespace airlock::cli
