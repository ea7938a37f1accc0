// SPDX-License-Identifier: Apache-2.0
//
// One vfio-user message, and how a stream of bytes and file descriptors becomes messages. No I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "core/range.h"
#include "spec/vfio_user.h"

namespace airlock::vfio_user {

inline constexpr std::size_t kHeaderSize = sizeof(spec::VfioUserHeader);
/// The largest errno that a reply may carry, as Linux has it.
inline constexpr std::uint32_t kMaxErrno = 4095;

/// A whole message as it came in. Its fds close with it unless somebody takes them.
struct Message {
  spec::VfioUserHeader header = {};
  std::vector<std::byte> payload;  // header.message_size - 16 bytes
  std::vector<Fd> fds;
  bool fds_lost = false;  // more came than are allowed: they are closed, and `fds` is empty
};

/// A whole message on its way out: the header is in `bytes`.
struct Outgoing {
  std::vector<std::byte> bytes;
  std::vector<Fd> fds;  // go with the first byte
};

/// A copy of the T at `offset` of `bytes`; nothing if it does not lie inside.
template <class T>
std::optional<T> read_struct(std::span<const std::byte> bytes, std::size_t offset = 0) {
  static_assert(std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>);
  if (!airlock_range_within(offset, sizeof(T), bytes.size())) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.subspan(offset).data(), sizeof value);
  return value;
}

/// The same where an earlier check has made sure that it lies inside.
template <class T>
T require_struct(std::span<const std::byte> bytes, std::size_t offset = 0) {
  const auto value = read_struct<T>(bytes, offset);
  CHECK(value.has_value());
  return value.value_or(T{});
}

/// Adds the bytes of `value`, which has no padding that could leak.
template <class T>
void append_struct(std::vector<std::byte>& bytes, const T& value) {
  static_assert(std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>);
  const std::size_t end = bytes.size();
  bytes.resize(end + sizeof value);
  std::memcpy(std::span(bytes).subspan(end).data(), &value, sizeof value);
}

/// A wire struct as bytes of its own.
template <class T>
[[nodiscard]] std::vector<std::byte> bytes_of(const T& value) {
  std::vector<std::byte> bytes;
  append_struct(bytes, value);
  return bytes;
}

/// An answer that is not what the protocol has there: byte `offset` of it says so.
[[nodiscard]] inline std::unexpected<Error> malformed(std::size_t offset) {
  return fail({.code = Errc::kMalformed, .detail = static_cast<std::uint32_t>(offset)});
}

/// Puts a stream together into messages. It says where the next bytes go and never asks for bytes
/// beyond the message at hand, so that fds are counted to the message they came with.
class MessageReader {
 public:
  struct Limits {
    std::uint32_t max_message_size;  // bytes, with the header
    std::uint32_t max_fds;           // in one message
  };

  explicit MessageReader(Limits limits) : limits_(limits) {}

  /// Where to receive next, and how much at most. Not empty. Not to be called when complete().
  std::span<std::byte> target();
  /// `count` bytes were received into target(), with `fds`; `truncated` if the kernel dropped some.
  /// Errors: kMalformed, if the header's size is one that no message can have. The stream is lost.
  Result<void> advance(std::size_t count, std::vector<Fd> fds, bool truncated);
  /// Whether take() has a message.
  [[nodiscard]] bool complete() const;
  /// Hands out the message and starts on the next.
  Message take();

 private:
  Limits limits_;
  std::size_t header_bytes_ = 0;   // received of the header
  std::size_t payload_bytes_ = 0;  // received of the payload
  Message message_;
};

}  // namespace airlock::vfio_user
