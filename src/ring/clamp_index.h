// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace airlock::ring {

/// `index` if it is below `limit`, else 0, without a branch. For a peer's number after its check:
/// changes nothing then, but for a processor that speculates past the check. HD-28.
inline std::uint32_t clamp_index(std::uint32_t index, std::uint32_t limit) {
  // Hidden from the compiler, which otherwise takes the check's word for it and leaves this out.
  asm volatile("" : "+r"(index));
  const std::uint64_t below = (std::uint64_t{index} - limit) >> 63;  // 1 if it wrapped
  return index & static_cast<std::uint32_t>(0 - below);
}

}  // namespace airlock::ring
