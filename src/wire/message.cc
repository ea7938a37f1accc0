// SPDX-License-Identifier: Apache-2.0
#include "wire/message.h"

#include <iterator>
#include <utility>

namespace airlock::vfio_user {

std::span<std::byte> MessageReader::target() {
  if (header_bytes_ < kHeaderSize) {
    return std::as_writable_bytes(std::span(&message_.header, 1)).subspan(header_bytes_);
  }
  return std::span(message_.payload).subspan(payload_bytes_);
}

Result<void> MessageReader::advance(std::size_t count, std::vector<Fd> fds, bool truncated) {
  CHECK(count <= target().size());
  auto& kept = message_.fds;
  kept.insert(kept.end(), std::make_move_iterator(fds.begin()), std::make_move_iterator(fds.end()));
  if (truncated || kept.size() > limits_.max_fds) message_.fds_lost = true;
  if (message_.fds_lost) kept.clear();
  if (header_bytes_ == kHeaderSize) {
    payload_bytes_ += count;
    return {};
  }
  header_bytes_ += count;
  if (header_bytes_ < kHeaderSize) return {};
  const std::size_t size = message_.header.message_size;
  if (size < kHeaderSize || size > limits_.max_message_size) {
    return fail({.code = Errc::kMalformed, .detail = offsetof(spec::VfioUserHeader, message_size)});
  }
  message_.payload.resize(size - kHeaderSize);
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

}  // namespace airlock::vfio_user
