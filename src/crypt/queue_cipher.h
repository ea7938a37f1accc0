// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "crypt/aead.h"
#include "crypt/queue_secret.h"
#include "shm/shared_bytes.h"

namespace airlock::crypt {

/// Chains of a queue at most, from one reset to the next: far from where counters, or the bounds of
/// the algorithms for one key, end. ENC-10.
inline constexpr std::uint64_t kChainsMost = std::uint64_t{1} << 48;

enum class Side : std::uint8_t { kDriver, kDevice };

/// A chain of an encrypted queue, as both sides count and measure it. ENC-7, ENC-8.
struct SealedChain {
  std::uint64_t counter = 0;
  std::uint32_t readable = 0;  // bytes of the readable part, with its tag; 0: there is none
  std::uint32_t writable = 0;  // bytes of the writable part, with room for its tag
};

/// What one side of an encrypted queue does with its messages: it seals its own and opens the
/// other's. A message is a chain's readable part or what the device wrote of its writable part, and
/// ends with a tag (docs/ENCRYPTION.md).
///
/// The region has ciphertext only, and is read once: bytes are sealed and opened in private memory
/// (ENC-11). One thread at a time, as the queue itself.
class QueueCipher {
 public:
  /// Most bytes of a piece.
  static constexpr std::size_t kPieceBytes = 16384;

  /// Errors: those of Aead::create().
  static Result<QueueCipher> create(const QueueSecret& secret, std::uint16_t queue, Side side);

  /// The next chain of the queue, which the driver makes available or the device takes: it has the
  /// next counter, for good. Lengths in bytes, tags included. Errors: kKeySpent (kChainsMost).
  Result<SealedChain> next_chain(std::uint32_t readable, std::uint32_t writable);
  /// Has it end early, for tests.
  void skip_to(std::uint64_t counter) { next_ = counter; }

  /// Begins our message of this chain, of `length` bytes without its tag.
  void begin_seal(const SealedChain& chain, std::uint32_t length);
  /// The next piece of it, kPieceBytes at most. Valid until the next call.
  [[nodiscard]] std::span<const std::byte> seal_piece(std::span<const std::byte> source);
  /// The next bytes of it, any number, into shared memory.
  void seal(std::span<const std::byte> source, const shm::SharedBytes& target,
            std::uint64_t offset);
  [[nodiscard]] Tag finish_seal() { return aead_.finish_seal(); }

  /// Begins the other side's message of this chain, of `length` bytes without its tag.
  void begin_open(const SealedChain& chain, std::uint32_t length);
  /// The next piece, copied out of shared memory before: becomes what was sealed.
  void open_piece(std::span<std::byte> bytes) { aead_.open(bytes); }
  /// The next bytes, any number, out of shared memory.
  void open(const shm::SharedBytes& source, std::uint64_t offset, std::span<std::byte> target);
  /// Ends it. Errors: kNotAuthentic, and then nothing of it is to be used (ENC-9).
  Result<void> finish_open(const Tag& tag);

 private:
  QueueCipher(Aead aead, std::uint16_t queue, Side side)
      : aead_(std::move(aead)), queue_(queue), side_(side), piece_(kPieceBytes) {}

  Aead aead_;
  std::uint16_t queue_;
  Side side_;
  std::uint64_t next_ = 0;
  std::uint64_t opening_ = 0;  // the counter of the message that is being opened
  std::vector<std::byte> piece_;
};

}  // namespace airlock::crypt
