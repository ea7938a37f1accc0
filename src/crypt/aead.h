// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"
#include "crypt/algorithm.h"

struct evp_cipher_ctx_st;  // NOLINT(readability-identifier-naming): OpenSSL names it

namespace airlock::crypt {

inline constexpr std::size_t kKeyBytes = 32;
inline constexpr std::size_t kNonceBytes = 12;
inline constexpr std::size_t kTagBytes = 16;

using Key = std::array<std::byte, kKeyBytes>;
using Tag = std::array<std::byte, kTagBytes>;
using Nonce = std::span<const std::byte, kNonceBytes>;

/// Authenticated encryption with associated data, by OpenSSL: one message at a time each way, in
/// pieces of any length. All bytes are private memory: whoever could change a ciphertext while it
/// is made would have it authenticated as changed (ENC-11). One thread at a time.
class Aead {
 public:
  /// Errors: kUnsupported (there is nothing to encrypt with: kNone, kNull, or OpenSSL lacks it).
  static Result<Aead> create(Algorithm algorithm, std::span<const std::byte, kKeyBytes> key);

  /// The next message. That no nonce comes twice under a key is the caller's business.
  void begin_seal(Nonce nonce, std::span<const std::byte> associated);
  /// Encrypts the next piece of it into `target`, of the same length; may be in place.
  void seal(std::span<const std::byte> source, std::span<std::byte> target);
  [[nodiscard]] Tag finish_seal();

  void begin_open(Nonce nonce, std::span<const std::byte> associated);
  /// Decrypts the next piece, in place. Nothing of it is to be believed before finish_open().
  void open(std::span<std::byte> bytes);
  /// Whether all of it is what was sealed.
  [[nodiscard]] bool finish_open(const Tag& tag);

 private:
  struct Free {
    void operator()(evp_cipher_ctx_st* context) const;
  };
  using Context = std::unique_ptr<evp_cipher_ctx_st, Free>;

  Aead(Context seal, Context open) : seal_(std::move(seal)), open_(std::move(open)) {}

  Context seal_;
  Context open_;
};

}  // namespace airlock::crypt
