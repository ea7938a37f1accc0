// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

namespace airlock::cli {

/// How large the requests of a copy are: whole pages and whole blocks (both powers of two), of
/// `room` bytes at most, or one of those if not even that fits.
constexpr std::uint64_t piece_bytes(std::uint64_t room, std::uint32_t block_bytes) {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 20U;
  constexpr std::uint64_t kPage = 4096;
  const std::uint64_t unit = std::max<std::uint64_t>(kPage, block_bytes);
  return std::max(std::min(room, kMost) / unit * unit, unit);
}

}  // namespace airlock::cli
