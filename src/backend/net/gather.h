// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "backend/net_backend.h"
#include "shm/shared_bytes.h"

namespace airlock::backend {

/// Bytes of all pieces of a frame.
[[nodiscard]] inline std::uint64_t frame_bytes(std::span<const shm::SharedBytes> pieces) {
  std::uint64_t bytes = 0;
  for (const shm::SharedBytes& piece : pieces)
    bytes += piece.size();
  return bytes;
}

[[nodiscard]] constexpr bool is_frame_length(std::uint64_t bytes) {
  return bytes >= kNetFrameMin && bytes <= kNetFrameMax;
}

/// A private copy of a frame: each byte is read once. `target` is as long as the pieces are.
inline void gather(std::span<const shm::SharedBytes> pieces, std::span<std::byte> target) {
  for (const shm::SharedBytes& piece : pieces) {
    piece.copy_out(0, target.first(piece.size()));
    target = target.subspan(piece.size());
  }
}

}  // namespace airlock::backend
