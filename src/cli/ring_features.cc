// SPDX-License-Identifier: Apache-2.0
#include "cli/ring_features.h"

#include <algorithm>
#include <array>

#include <fmt/core.h>

#include "spec/virtio.h"

namespace airlock::cli {

namespace {

struct RingFeature {
  std::string_view name;
  unsigned bit;
};

constexpr std::array<RingFeature, 6> kRingFeatureNames{{
    {.name = "packed", .bit = spec::VIRTIO_F_RING_PACKED},
    {.name = "indirect", .bit = spec::VIRTIO_F_INDIRECT_DESC},
    {.name = "event_idx", .bit = spec::VIRTIO_F_EVENT_IDX},
    {.name = "in_order", .bit = spec::VIRTIO_F_IN_ORDER},
    {.name = "notification_data", .bit = spec::VIRTIO_F_NOTIFICATION_DATA},
    {.name = "ring_reset", .bit = spec::VIRTIO_F_RING_RESET},
}};

}  // namespace

std::uint64_t ring_features_known() {
  std::uint64_t all = 0;
  for (const RingFeature& feature : kRingFeatureNames)
    all |= spec::feature(feature.bit);
  return all;
}

std::string ring_feature_names() {
  std::string names;
  for (const RingFeature& feature : kRingFeatureNames)
    names += fmt::format("{}{}", names.empty() ? "" : ", ", feature.name);
  return names;
}

std::expected<std::uint64_t, std::string> choose_ring_features(std::string_view text,
                                                               std::uint64_t features) {
  for (std::string_view rest = text;;) {
    const std::size_t comma = rest.find(',');
    const std::string_view word = rest.substr(0, comma);
    const std::size_t equals = word.find('=');
    const auto found =
        std::ranges::find(kRingFeatureNames, word.substr(0, equals), &RingFeature::name);
    if (found == kRingFeatureNames.end()) {
      return std::unexpected(
          fmt::format("'{}' names no feature (there are {})", word, ring_feature_names()));
    }
    const std::string_view value =
        equals == std::string_view::npos ? std::string_view() : word.substr(equals + 1);
    if (value != "on" && value != "off") {
      return std::unexpected(fmt::format("'{}' is neither {}=on nor {}=off (features: {})", word,
                                         found->name, found->name, ring_feature_names()));
    }
    const std::uint64_t bit = spec::feature(found->bit);
    features = value == "on" ? features | bit : features & ~bit;
    if (comma == std::string_view::npos) return features;
    rest.remove_prefix(comma + 1);
  }
}

std::vector<std::string> names_of_ring_features(std::uint64_t features) {
  std::vector<std::string> names;
  for (const RingFeature& feature : kRingFeatureNames) {
    const bool format = feature.bit == spec::VIRTIO_F_RING_PACKED;
    if (!format && (features & spec::feature(feature.bit)) != 0) names.emplace_back(feature.name);
  }
  return names;
}

}  // namespace airlock::cli
