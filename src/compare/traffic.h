// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace airlock::compare {

/// What goes through every model.
enum class Traffic : std::uint8_t {
  kBlk,  // requests of a disk
  kNet,  // frames of a network card
};

/// As `airlock compare --workload` has it.
[[nodiscard]] constexpr std::string_view name_of(Traffic traffic) {
  return traffic == Traffic::kBlk ? "blk" : "net";
}
/// Nothing if there is none of that name.
[[nodiscard]] constexpr std::optional<Traffic> traffic_named(std::string_view name) {
  for (const Traffic traffic : {Traffic::kBlk, Traffic::kNet}) {
    if (name == name_of(traffic)) return traffic;
  }
  return std::nullopt;
}

/// Bytes of the disk that every model's device serves: zeros at first, in the device's own memory.
inline constexpr std::uint64_t kDiskBytes = std::uint64_t{16} << 20;

}  // namespace airlock::compare
