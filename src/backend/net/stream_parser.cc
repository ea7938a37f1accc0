// SPDX-License-Identifier: Apache-2.0
#include "backend/net/stream_parser.h"

#include <algorithm>
#include <cstdint>

#include "base/check.h"

namespace airlock::backend {

namespace {

std::uint32_t read_prefix(std::span<const std::byte> bytes) {
  std::uint32_t length = 0;
  for (const std::byte byte : bytes.first(kStreamPrefixBytes))
    length = length << 8U | std::to_integer<std::uint32_t>(byte);
  return length;
}

}  // namespace

std::span<std::byte> StreamParser::room() {
  if (begin_ == end_) clear();
  // The start of a frame moves to the front only where the rest of it may not fit behind it.
  constexpr std::size_t kOneFrame = kStreamPrefixBytes + kNetFrameMax;
  if (bytes_.size() - begin_ < kOneFrame) {
    std::copy(bytes_.begin() + static_cast<std::ptrdiff_t>(begin_),
              bytes_.begin() + static_cast<std::ptrdiff_t>(end_), bytes_.begin());
    end_ -= begin_;
    begin_ = 0;
  }
  return std::span(bytes_).subspan(end_);
}

void StreamParser::came(std::size_t count) {
  CHECK(count <= bytes_.size() - end_);
  end_ += count;
}

Result<std::optional<std::span<const std::byte>>> StreamParser::next() {
  const auto pending = std::span<const std::byte>(bytes_).subspan(begin_, end_ - begin_);
  if (pending.size() < kStreamPrefixBytes) return std::nullopt;
  const std::uint32_t length = read_prefix(pending);
  if (length > kNetFrameMax) return fail({.code = Errc::kBadLength, .detail = length});
  const std::span<const std::byte> rest = pending.subspan(kStreamPrefixBytes);
  if (rest.size() < length) return std::nullopt;
  begin_ += kStreamPrefixBytes + length;
  return rest.first(length);
}

}  // namespace airlock::backend
