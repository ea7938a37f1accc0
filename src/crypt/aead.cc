// SPDX-License-Identifier: Apache-2.0
#include "crypt/aead.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <bit>
#include <limits>
#include <utility>

#include "base/check.h"

namespace airlock::crypt {

namespace {

using Cipher = std::unique_ptr<EVP_CIPHER, decltype(&EVP_CIPHER_free)>;

const char* openssl_name(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::kAes256Gcm:
      return "AES-256-GCM";
    case Algorithm::kChaCha20Poly1305:
      return "ChaCha20-Poly1305";
    case Algorithm::kNone:
    case Algorithm::kNull:
      break;
  }
  return nullptr;
}

const unsigned char* raw(std::span<const std::byte> bytes) {
  return std::bit_cast<const unsigned char*>(bytes.data());
}

unsigned char* raw(std::span<std::byte> bytes) {
  return std::bit_cast<unsigned char*>(bytes.data());
}

int length_of(std::span<const std::byte> bytes) {
  CHECK(bytes.size() <= static_cast<std::size_t>(std::numeric_limits<int>::max()));
  return static_cast<int>(bytes.size());
}

void begin(EVP_CIPHER_CTX* context, Nonce nonce, std::span<const std::byte> associated) {
  CHECK(EVP_CipherInit_ex2(context, nullptr, nullptr, raw(nonce), -1, nullptr) == 1);
  int done = 0;
  CHECK(EVP_CipherUpdate(context, nullptr, &done, raw(associated), length_of(associated)) == 1);
}

void update(EVP_CIPHER_CTX* context, std::span<const std::byte> source,
            std::span<std::byte> target) {
  CHECK(target.size() == source.size());
  if (source.empty()) return;
  int done = 0;
  CHECK(EVP_CipherUpdate(context, raw(target), &done, raw(source), length_of(source)) == 1);
  CHECK(done == length_of(source));
}

}  // namespace

void Aead::Free::operator()(evp_cipher_ctx_st* context) const {
  EVP_CIPHER_CTX_free(context);
}

Result<Aead> Aead::create(Algorithm algorithm, std::span<const std::byte, kKeyBytes> key) {
  const auto unsupported = [algorithm] {
    return fail({.code = Errc::kUnsupported, .detail = std::to_underlying(algorithm)});
  };
  const char* const name = openssl_name(algorithm);
  // A process that gave up its rights can't read OpenSSL's files, and needs none of them.
  if (name == nullptr || OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr) != 1) {
    return unsupported();
  }
  const Cipher cipher(EVP_CIPHER_fetch(nullptr, name, nullptr), EVP_CIPHER_free);
  if (!cipher) return unsupported();
  Context seal(EVP_CIPHER_CTX_new());
  Context open(EVP_CIPHER_CTX_new());
  if (!seal || !open) return unsupported();
  for (const auto& [context, encrypts] : {std::pair(seal.get(), 1), std::pair(open.get(), 0)}) {
    const bool ready =
        EVP_CipherInit_ex2(context, cipher.get(), raw(key), nullptr, encrypts, nullptr) == 1;
    if (!ready || EVP_CIPHER_CTX_get_iv_length(context) != static_cast<int>(kNonceBytes)) {
      return unsupported();
    }
  }
  return Aead(std::move(seal), std::move(open));
}

void Aead::begin_seal(Nonce nonce, std::span<const std::byte> associated) {
  begin(seal_.get(), nonce, associated);
}

void Aead::seal(std::span<const std::byte> source, std::span<std::byte> target) {
  update(seal_.get(), source, target);
}

Tag Aead::finish_seal() {
  std::array<unsigned char, kTagBytes> rest{};  // there is none: both are stream ciphers
  int done = 0;
  CHECK(EVP_CipherFinal_ex(seal_.get(), rest.data(), &done) == 1 && done == 0);
  Tag tag{};
  CHECK(EVP_CIPHER_CTX_ctrl(seal_.get(), EVP_CTRL_AEAD_GET_TAG, kTagBytes, tag.data()) == 1);
  return tag;
}

void Aead::begin_open(Nonce nonce, std::span<const std::byte> associated) {
  begin(open_.get(), nonce, associated);
}

void Aead::open(std::span<std::byte> bytes) {
  update(open_.get(), bytes, bytes);
}

bool Aead::finish_open(const Tag& tag) {
  Tag expected = tag;
  CHECK(EVP_CIPHER_CTX_ctrl(open_.get(), EVP_CTRL_AEAD_SET_TAG, kTagBytes, expected.data()) == 1);
  std::array<unsigned char, kTagBytes> rest{};
  int done = 0;
  return EVP_CipherFinal_ex(open_.get(), rest.data(), &done) == 1;
}

}  // namespace airlock::crypt
