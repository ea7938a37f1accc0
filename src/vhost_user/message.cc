// SPDX-License-Identifier: Apache-2.0
#include "vhost_user/message.h"

#include <iterator>
#include <utility>

#include "base/check.h"

namespace airlock::vhost_user {

std::span<std::byte> MessageReader::target() {
  if (header_bytes_ < kHeaderSize) {
    return std::as_writable_bytes(std::span(&message_.header, 1)).subspan(header_bytes_);
  }
  return std::span(message_.payload).subspan(payload_bytes_);
}

Result<void> MessageReader::advance(std::size_t count, std::vector<Fd> fds) {
  CHECK(count <= target().size());
  auto& kept = message_.fds;
  // What is too many for any message is too many to keep: the rest closes here.
  for (Fd& fd : fds) {
    if (kept.size() < 2) kept.push_back(std::move(fd));
  }
  if (header_bytes_ == kHeaderSize) {
    payload_bytes_ += count;
    return {};
  }
  header_bytes_ += count;
  if (header_bytes_ < kHeaderSize) return {};
  const spec::VhostUserHeader& header = message_.header;
  if ((header.flags & spec::VHOST_USER_VERSION_MASK) != spec::VHOST_USER_VERSION) {
    return fail({.code = Errc::kMalformed, .detail = offsetof(spec::VhostUserHeader, flags)});
  }
  if (header.size > kPayloadMax) {
    return fail({.code = Errc::kMalformed, .detail = offsetof(spec::VhostUserHeader, size)});
  }
  message_.payload.resize(header.size);
  return {};
}

bool MessageReader::complete() const {
  return header_bytes_ == kHeaderSize && payload_bytes_ == message_.payload.size();
}

Message MessageReader::take() {
  CHECK(complete());
  header_bytes_ = 0;
  payload_bytes_ = 0;
  return std::exchange(message_, Message{});
}

}  // namespace airlock::vhost_user
