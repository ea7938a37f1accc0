// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "backend/net/stream_parser.h"
#include "shm/shared_bytes.h"
#include "spec/virtio_net.h"

namespace airlock::backend {

/// Frames on their way into a stream, each behind its length: so many that one system call takes
/// many, and no more than kBytes.
class StreamSender {
 public:
  static constexpr std::size_t kBytes = std::size_t{256} << 10;
  /// With so many it is time to send them.
  static constexpr std::size_t kEnough = std::size_t{128} << 10;
  static_assert(kBytes >= kStreamPrefixBytes + kNetFrameMax);

  StreamSender() { bytes_.reserve(kBytes); }

  /// Whether a frame of `length` bytes has room.
  [[nodiscard]] bool has_room(std::size_t length) const;
  /// Copies a frame, for which there is room, and completes its checksum; `header` fits it.
  void push(const spec::VirtioNetHdr& header, std::span<const shm::SharedBytes> pieces,
            std::size_t length);
  /// What was not sent yet.
  [[nodiscard]] std::span<const std::byte> pending() const;
  /// So many of those were.
  void sent(std::size_t count);
  [[nodiscard]] bool empty() const { return begin_ == bytes_.size(); }
  void clear();

 private:
  std::vector<std::byte> bytes_;
  std::size_t begin_ = 0;
};

}  // namespace airlock::backend
