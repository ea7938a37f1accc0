// SPDX-License-Identifier: Apache-2.0
#include "backend/net/stream_sender.h"

#include "backend/net/gather.h"
#include "backend/net/net_checksum.h"
#include "base/check.h"

namespace airlock::backend {

bool StreamSender::has_room(std::size_t length) const {
  const std::size_t room = kBytes - pending().size();
  return length <= kNetFrameMax && room >= kStreamPrefixBytes &&
         room - kStreamPrefixBytes >= length;
}

void StreamSender::push(const spec::VirtioNetHdr& header, std::span<const shm::SharedBytes> pieces,
                        std::size_t length) {
  CHECK(has_room(length));
  // tidy: cannot overflow because it holds kBytes at most, and a frame is checked
  if (bytes_.size() + kStreamPrefixBytes + length > kBytes) {
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(begin_));
    begin_ = 0;
  }
  for (unsigned shift = 32; shift > 0; shift -= 8)
    bytes_.push_back(std::byte(length >> (shift - 8) & 0xffU));
  const std::size_t at = bytes_.size();
  bytes_.resize(at + length);
  const std::span<std::byte> frame = std::span(bytes_).subspan(at);
  gather(pieces, frame);
  complete_checksum(header, frame);
}

std::span<const std::byte> StreamSender::pending() const {
  return std::span(bytes_).subspan(begin_);
}

void StreamSender::sent(std::size_t count) {
  CHECK(count <= pending().size());
  begin_ += count;
  if (empty()) clear();
}

void StreamSender::clear() {
  bytes_.clear();
  begin_ = 0;
}

}  // namespace airlock::backend
