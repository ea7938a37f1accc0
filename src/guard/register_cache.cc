// SPDX-License-Identifier: Apache-2.0
#include "guard/register_cache.h"

#include <algorithm>

namespace airlock::guard {

void RegisterCache::set_config(std::uint32_t index, std::span<const std::byte> config) {
  config_index_ = index;
  config_.assign(config.begin(), config.end());
  constant_ = constant_parts(config_);
  learn(index, 0, config);
}

void RegisterCache::learn(std::uint32_t region, std::uint64_t offset,
                          std::span<const std::byte> bytes) {
  if (offset >= kKept) return;
  bytes = bytes.first(std::min<std::uint64_t>(bytes.size(), kKept - offset));
  std::vector<std::byte>& kept = regions_[region];
  kept.resize(std::max(kept.size(), offset + bytes.size()));
  std::ranges::copy(bytes, kept.begin() + static_cast<std::ptrdiff_t>(offset));
}

void RegisterCache::recall(std::uint32_t region, std::uint64_t offset,
                           std::span<std::byte> bytes) const {
  std::ranges::fill(bytes, std::byte{0});
  const auto found = regions_.find(region);
  if (found == regions_.end() || offset >= found->second.size()) return;
  const auto kept = std::span(found->second).subspan(offset);
  std::ranges::copy(kept.first(std::min(kept.size(), bytes.size())), bytes.begin());
}

void RegisterCache::correct(std::uint32_t region, std::uint64_t offset,
                            std::span<std::byte> bytes) const {
  if (region != config_index_) return;
  for (const ByteRange& part : constant_) {
    for (std::uint64_t at = part.offset; at < std::uint64_t{part.offset} + part.size; ++at) {
      if (at >= offset && at - offset < bytes.size()) bytes[at - offset] = config_[at];
    }
  }
}

}  // namespace airlock::guard
