// SPDX-License-Identifier: Apache-2.0
#include "driver/encryption_registers.h"

#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

namespace airlock::driver {

namespace {

using Registers = spec::VirtioPciEncryptionCfg;

std::unexpected<Error> register_lies(std::size_t offset, std::uint16_t queue) {
  return fail(
      {.code = Errc::kMalformed, .queue = queue, .detail = static_cast<std::uint32_t>(offset)});
}

}  // namespace

Result<std::unique_ptr<crypt::QueueCipher>> EncryptionRegisters::encrypt(
    std::uint16_t queue, crypt::Algorithm algorithm) {
  TRY(choose(queue, algorithm));
  if (algorithm == crypt::Algorithm::kNull) return std::unique_ptr<crypt::QueueCipher>();
  crypt::QueueSecret secret;
  secret.algorithm = algorithm;
  crypt::fill_random(secret.key);
  TRY(write_key(secret.key));
  if (TRY(read(offsetof(Registers, state), Width::k4)) != spec::VIRTIO_ENCRYPTION_S_KEYED) {
    return register_lies(offsetof(Registers, state), queue);
  }
  TRY(read_salt(secret.salt));
  auto cipher = TRY(crypt::QueueCipher::create(secret, queue, crypt::Side::kDriver));
  return std::make_unique<crypt::QueueCipher>(std::move(cipher));
}

Result<void> EncryptionRegisters::choose(std::uint16_t queue, crypt::Algorithm algorithm) {
  const std::uint64_t offered = TRY(read(offsetof(Registers, algorithms), Width::k4));
  const std::uint16_t number = std::to_underlying(algorithm);
  if ((offered & crypt::algorithm_bit(algorithm)) == 0) {
    return fail({.code = Errc::kNoEncryption, .queue = queue, .detail = number});
  }
  TRY(write(offsetof(Registers, queue_select), Width::k2, queue));
  TRY(write(offsetof(Registers, algorithm), Width::k2, number));
  if (TRY(read(offsetof(Registers, algorithm), Width::k2)) != number) {
    return register_lies(offsetof(Registers, algorithm), queue);
  }
  return {};
}

Result<void> EncryptionRegisters::write_key(const crypt::Key& key) {
  for (std::size_t at = 0; at < key.size(); at += sizeof(Le32)) {
    Le32 word;
    std::memcpy(&word, &key[at], sizeof word);
    TRY(write(offsetof(Registers, key) + at, Width::k4, word.get()));
  }
  return {};
}

Result<void> EncryptionRegisters::read_salt(crypt::Salt& target) {
  for (std::size_t at = 0; at < target.size(); at += sizeof(Le32)) {
    const std::uint64_t value = TRY(read(offsetof(Registers, salt) + at, Width::k4));
    const Le32 word(static_cast<std::uint32_t>(value));
    std::memcpy(&target[at], &word, sizeof word);
  }
  return {};
}

Result<std::uint64_t> EncryptionRegisters::read(std::size_t offset, Width width) {
  return transport_->read({.bar = place_.bar, .offset = place_.offset + offset, .width = width});
}

Result<void> EncryptionRegisters::write(std::size_t offset, Width width, std::uint64_t value) {
  return transport_->write({.bar = place_.bar, .offset = place_.offset + offset, .width = width},
                           value);
}

}  // namespace airlock::driver
