// SPDX-License-Identifier: Apache-2.0
//
// One vhost-user message, and how a stream of bytes and file descriptors becomes messages. No I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "spec/vhost_user.h"

namespace airlock::vhost_user {

inline constexpr std::size_t kHeaderSize = sizeof(spec::VhostUserHeader);
/// The longest payload that a backend has to send: device configuration.
inline constexpr std::uint32_t kPayloadMax =
    sizeof(spec::VhostUserConfig) + spec::VHOST_USER_MAX_CONFIG_SIZE;

/// A whole message as it came in. Its fds close with it unless somebody takes them.
struct Message {
  spec::VhostUserHeader header = {};
  std::vector<std::byte> payload;  // header.size bytes
  std::vector<Fd> fds;
};

/// Puts a stream together into messages. It says where the next bytes go and never asks for bytes
/// beyond the message at hand, so that fds are counted to the message they came with.
class MessageReader {
 public:
  /// Where to receive next, and how much at most. Not empty. Not to be called when complete().
  std::span<std::byte> target();
  /// `count` bytes were received into target(), with `fds`.
  /// Errors: kMalformed: a version that is not ours, or a size that no message of a backend has.
  /// The stream is lost.
  Result<void> advance(std::size_t count, std::vector<Fd> fds);
  /// Whether take() has a message.
  [[nodiscard]] bool complete() const;
  /// Hands out the message and starts on the next.
  Message take();

 private:
  std::size_t header_bytes_ = 0;   // received of the header
  std::size_t payload_bytes_ = 0;  // received of the payload
  Message message_;
};

}  // namespace airlock::vhost_user
