// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "backend/net_backend.h"

namespace airlock::backend {

/// Bytes in front of each frame of a stream: its length, big-endian.
inline constexpr std::size_t kStreamPrefixBytes = 4;

/// Cuts the stream of a peer that is not trusted into frames: QEMU's stream netdev, and passt. What
/// it holds is bounded, and no length is believed before it was checked.
class StreamParser {
 public:
  /// So much comes by one system call at most; one frame always fits.
  static constexpr std::size_t kBytes = std::size_t{256} << 10;
  static_assert(kBytes >= kStreamPrefixBytes + kNetFrameMax);

  StreamParser() : bytes_(kBytes) {}

  /// Where bytes from the peer go; never empty after next() had nothing more.
  [[nodiscard]] std::span<std::byte> room();
  /// So many came there.
  void came(std::size_t count);

  /// The next frame, of a length from 0 to kNetFrameMax; valid until room(). nullopt: it has not
  /// come as a whole. Errors: kBadLength (no frame is that long): nothing more can be made of this
  /// stream.
  Result<std::optional<std::span<const std::byte>>> next();

  /// Another stream begins.
  void clear() { begin_ = end_ = 0; }

 private:
  std::vector<std::byte> bytes_;
  std::size_t begin_ = 0;  // of what was not handed out yet
  std::size_t end_ = 0;    // of what came
};

}  // namespace airlock::backend
