// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <poll.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include "backend/net_backend.h"
#include "shm/sealed_memfd.h"
#include "spec/virtio.h"
#include "spec/virtio_net.h"

namespace airlock::testing {

using backend::NetChannel;
using backend::NetSendResult;

/// A frame of `length` bytes that no other has.
inline std::vector<std::byte> make_frame(std::size_t length, unsigned seed = 1) {
  std::vector<std::byte> bytes(length);
  for (std::size_t i = 0; i < length; i++)
    bytes[i] = std::byte((i * 7 + i / 256 + seed * 31) & 0xff);
  return bytes;
}

/// Whether a descriptor is readable within some time: 0, not now.
inline bool is_readable(int fd, int milliseconds = 10'000) {
  pollfd waited{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&waited, 1, milliseconds) == 1;
}

/// Whether a header asks for nothing.
inline bool asks_nothing(const spec::VirtioNetHdr& header) {
  const auto bytes = std::as_bytes(std::span(&header, 1));
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

/// Shared memory for frames, and a channel's two sides.
class NetBench {
 public:
  using Frame = std::vector<std::byte>;

  /// Sends a frame that lies in `pieces` pieces.
  NetSendResult send(NetChannel& channel, std::span<const std::byte> frame,
                     const spec::VirtioNetHdr& sent_header = {}, std::size_t pieces = 1) const {
    std::vector<shm::SharedBytes> parts;
    mapping_.bytes().copy_in(0, frame);
    for (std::size_t i = 0; i < pieces; i++) {
      const std::size_t start = frame.size() * i / pieces;
      const std::size_t end = frame.size() * (i + 1) / pieces;
      parts.push_back(MUST(mapping_.bytes().slice(start, end - start)));
    }
    return channel.send(sent_header, parts);
  }

  /// The next frame; empty: there is none now.
  Frame receive(NetChannel& channel) {
    const auto length = MUST(channel.receive(header, buffer_));
    if (!length) return {};
    return {buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(*length)};
  }
  /// The next frame, waited for; empty: none came.
  Frame await(NetChannel& channel) {
    for (;;) {
      Frame frame = receive(channel);
      if (!frame.empty() || !is_readable(channel.receive_fd())) return frame;
    }
  }

  spec::VirtioNetHdr header;  // of the last frame

 private:
  shm::SealedMemfd memfd_ = MUST(shm::SealedMemfd::create({.size = std::uint64_t{1} << 20}));
  shm::Mapping mapping_ = MUST(memfd_.map());
  std::vector<std::byte> buffer_ = std::vector<std::byte>(backend::kNetFrameMax);
};

}  // namespace airlock::testing
