// SPDX-License-Identifier: Apache-2.0
#include "crypt/queue_cipher.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "spec/queue_encryption.h"

namespace airlock::crypt {

namespace {

// What is bound to each message besides its key. ENC-7.
struct Binding {
  spec::VirtioEncryptionNonce nonce;
  spec::VirtioEncryptionAad associated;

  [[nodiscard]] Nonce nonce_bytes() const {
    return Nonce(std::as_bytes(std::span(&nonce, 1)).first<kNonceBytes>());
  }
  [[nodiscard]] std::span<const std::byte> associated_bytes() const {
    return std::as_bytes(std::span(&associated, 1));
  }
};

Binding bind(std::uint16_t queue, std::uint8_t direction, const SealedChain& chain,
             std::uint32_t length) {
  return {.nonce = {.queue = Le16(queue),
                    .direction = direction,
                    .reserved = 0,
                    .counter_low = Le32(static_cast<std::uint32_t>(chain.counter)),
                    .counter_high = Le32(static_cast<std::uint32_t>(chain.counter >> 32))},
          .associated = {.queue = Le16(queue),
                         .direction = direction,
                         .reserved = 0,
                         .length = Le32(length),
                         .counter = Le64(chain.counter),
                         .readable = Le32(chain.readable),
                         .writable = Le32(chain.writable)}};
}

std::uint8_t direction_of(Side sender) {
  return sender == Side::kDriver ? spec::VIRTIO_ENCRYPTION_TO_DEVICE
                                 : spec::VIRTIO_ENCRYPTION_TO_DRIVER;
}

Side other(Side side) {
  return side == Side::kDriver ? Side::kDevice : Side::kDriver;
}

}  // namespace

Result<QueueCipher> QueueCipher::create(const QueueSecret& secret, std::uint16_t queue, Side side) {
  Key key = session_key(secret, queue);
  auto aead = Aead::create(secret.algorithm, key);
  wipe(key);
  if (!aead) return fail(aead.error());
  return QueueCipher(std::move(*aead), queue, side);
}

Result<SealedChain> QueueCipher::next_chain(std::uint32_t readable, std::uint32_t writable) {
  if (next_ >= kChainsMost) return fail({.code = Errc::kKeySpent, .queue = queue_});
  return SealedChain{.counter = next_++, .readable = readable, .writable = writable};
}

void QueueCipher::begin_seal(const SealedChain& chain, std::uint32_t length) {
  const Binding binding = bind(queue_, direction_of(side_), chain, length);
  aead_.begin_seal(binding.nonce_bytes(), binding.associated_bytes());
}

std::span<const std::byte> QueueCipher::seal_piece(std::span<const std::byte> source) {
  CHECK(source.size() <= piece_.size());
  const std::span<std::byte> sealed = std::span(piece_).first(source.size());
  aead_.seal(source, sealed);
  return sealed;
}

void QueueCipher::seal(std::span<const std::byte> source, const shm::SharedBytes& target,
                       std::uint64_t offset) {
  while (!source.empty()) {
    const std::size_t length = std::min(source.size(), kPieceBytes);
    target.copy_in(offset, seal_piece(source.first(length)));
    source = source.subspan(length);
    offset += length;
  }
}

void QueueCipher::begin_open(const SealedChain& chain, std::uint32_t length) {
  const Binding binding = bind(queue_, direction_of(other(side_)), chain, length);
  opening_ = chain.counter;
  aead_.begin_open(binding.nonce_bytes(), binding.associated_bytes());
}

void QueueCipher::open(const shm::SharedBytes& source, std::uint64_t offset,
                       std::span<std::byte> target) {
  while (!target.empty()) {
    const std::size_t length = std::min(target.size(), kPieceBytes);
    source.copy_out(offset, target.first(length));
    aead_.open(target.first(length));
    target = target.subspan(length);
    offset += length;
  }
}

Result<void> QueueCipher::finish_open(const Tag& tag) {
  if (aead_.finish_open(tag)) return {};
  return fail({.code = Errc::kNotAuthentic, .queue = queue_, .address = opening_});
}

}  // namespace airlock::crypt
