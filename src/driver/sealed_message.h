// SPDX-License-Identifier: Apache-2.0
//
// Messages of an encrypted queue that stand in the region in one piece, their tag behind them: a
// frame, a command, an answer. docs/ENCRYPTION.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>

#include "crypt/queue_cipher.h"
#include "shm/shared_bytes.h"

namespace airlock::driver {

/// Seals `pieces`, one after the other, into `target` from `offset` on, with their tag behind them;
/// `length`: of all of them, in bytes.
inline void seal_message(crypt::QueueCipher& cipher, const crypt::SealedChain& chain,
                         std::uint32_t length,
                         std::initializer_list<std::span<const std::byte>> pieces,
                         const shm::SharedBytes& target, std::uint64_t offset) {
  cipher.begin_seal(chain, length);
  for (const std::span<const std::byte> piece : pieces) {
    cipher.seal(piece, target, offset);
    offset += piece.size();
  }
  target.copy_in(offset, cipher.finish_seal());
}

/// Opens the answer of which the device says that it wrote `written` bytes, tag included, from
/// `offset` on; `target` has room for as many as it was given. Returns what of `target` it is.
/// Errors: kNotAuthentic, and `target` means nothing then.
inline Result<std::span<std::byte>> open_message(
    crypt::QueueCipher& cipher, const crypt::SealedChain& chain, std::uint32_t written,
    const shm::SharedBytes& source, std::uint64_t offset, std::span<std::byte> target) {
  if (written < crypt::kTagBytes) {
    return fail({.code = Errc::kNotAuthentic, .address = chain.counter});
  }
  const auto length = static_cast<std::uint32_t>(written - crypt::kTagBytes);
  const std::span<std::byte> message = target.first(length);
  cipher.begin_open(chain, length);
  cipher.open(source, offset, message);
  crypt::Tag tag{};
  source.copy_out(offset + length, tag);
  TRY(cipher.finish_open(tag));
  return message;
}

}  // namespace airlock::driver
