// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "base/size.h"
#include "cli/blk_commands.h"
#include "cli/disk.h"
#include "cli/ring_features.h"
#include "spec/virtio.h"

namespace airlock::cli {

namespace {

const char* source_name(driver::RegionSource source) {
  switch (source) {
    case driver::RegionSource::kSwiotlb:
      return "VIRTIO_F_SWIOTLB, bus addresses";
    case driver::RegionSource::kDmb:
      return "VIRTIO_F_DMB, offsets";
    case driver::RegionSource::kCapability:
      return "capability 10 alone, bus addresses";
  }
  return "?";
}

/// A list as words in a line.
std::string as_text(const nlohmann::ordered_json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return value.dump();
  std::string text;
  for (const auto& word : value)
    text += (text.empty() ? "" : " ") + word.get<std::string>();
  return text.empty() ? "-" : text;
}

/// What a disk calls itself may be any bytes: only printable ones reach a terminal.
std::string printable(std::string text) {
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text;
}

}  // namespace

Outcome blk_info(const BlkInfoOptions& options) {
  auto disk = open_disk(options.device, {.device = {.ring_features = options.ring_features,
                                                    .encryption = options.encryption}});
  if (!disk) return std::unexpected(disk.error());
  driver::Blk& blk = *disk->blk;
  auto id = blk.get_id();
  if (!id) return disk_failed("ask for the disk's id", id.error());
  const driver::BlkInfo& info = blk.info();
  const driver::Negotiation& negotiation = blk.device().negotiation();
  const nlohmann::ordered_json json = {
      {"id", printable(*id)},
      {"capacity", info.capacity_bytes},
      {"block", info.block_bytes},
      {"physical_block", info.physical_block_bytes},
      {"read_only", info.read_only},
      {"flush", info.has_flush},
      {"discard", info.discard_bytes_max > 0},
      {"write_zeroes", info.write_zeroes_bytes_max > 0},
      {"queues", info.queues},
      {"segments_max", info.segments_max},
      {"region", negotiation.region.length},
      {"region_by", source_name(negotiation.source)},
      {"ring", blk.device().has(spec::VIRTIO_F_RING_PACKED) ? "packed" : "split"},
      {"ring_features", names_of_ring_features(negotiation.accepted)},
      {"features_offered", fmt::format("{:#x}", negotiation.offered)},
      {"features_accepted", fmt::format("{:#x}", negotiation.accepted)},
  };
  if (options.json) {
    fmt::print("{}\n", json.dump(2));
    return {};
  }
  for (const auto& [key, value] : json.items()) {
    std::string text = as_text(value);
    if (key == "capacity" || key == "region") {
      text += fmt::format(" ({})", format_size(value.get<std::uint64_t>()));
    }
    fmt::print("{:<18} {}\n", key, text);
  }
  return {};
}

}  // namespace airlock::cli
