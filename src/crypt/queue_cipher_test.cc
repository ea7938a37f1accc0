// SPDX-License-Identifier: Apache-2.0
//
// Goal: a message opens where it was meant to, once, and nowhere else. Method: two sides of a queue
// over private bytes; one thing at a time differs between them.
#include "crypt/queue_cipher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

#include "shm/private_bytes.h"

namespace airlock::crypt {
namespace {

using Bytes = std::vector<std::byte>;

Bytes counting(std::size_t length) {
  Bytes bytes(length);
  for (std::size_t i = 0; i < length; ++i)
    bytes[i] = static_cast<std::byte>(i * 7 + i / 256);
  return bytes;
}

QueueSecret& secret_with(QueueSecret& secret, Algorithm algorithm, unsigned key = 1,
                         unsigned salt = 2) {
  secret.algorithm = algorithm;
  secret.key.fill(static_cast<std::byte>(key));
  secret.salt.fill(static_cast<std::byte>(salt));
  return secret;
}

QueueCipher cipher(Algorithm algorithm, Side side, std::uint16_t queue = 3, unsigned key = 1,
                   unsigned salt = 2) {
  QueueSecret secret;
  return MUST(QueueCipher::create(secret_with(secret, algorithm, key, salt), queue, side));
}

struct Message {
  Bytes sealed;
  Tag tag{};
};

Message seal(QueueCipher& by, const SealedChain& chain, const Bytes& plain) {
  Message message{.sealed = Bytes(plain.size())};
  by.begin_seal(chain, static_cast<std::uint32_t>(plain.size()));
  by.seal(plain, shm::PrivateBytes(message.sealed), 0);
  message.tag = by.finish_seal();
  return message;
}

/// What it opens to; empty if it does not.
Bytes open(QueueCipher& by, const SealedChain& chain, Message message) {
  Bytes plain(message.sealed.size());
  by.begin_open(chain, static_cast<std::uint32_t>(plain.size()));
  by.open(shm::PrivateBytes(message.sealed), 0, plain);
  const auto opened = by.finish_open(message.tag);
  if (opened) return plain;
  EXPECT_EQ(opened.error(),
            (Error{.code = Errc::kNotAuthentic, .queue = 3, .address = chain.counter}));
  return {};
}

class QueueCipherTest : public ::testing::TestWithParam<Algorithm> {
 protected:
  QueueCipher driver_ = cipher(GetParam(), Side::kDriver);
  QueueCipher device_ = cipher(GetParam(), Side::kDevice);
  // Longer than a piece, and no multiple of one.
  Bytes plain_ = counting(2 * QueueCipher::kPieceBytes + 77);
  SealedChain chain_ = MUST(driver_.next_chain(100, 200));
};

// ENC-6.
TEST_P(QueueCipherTest, OpensWhatTheOtherSideSealed) {
  const Message request = seal(driver_, chain_, plain_);
  EXPECT_NE(request.sealed, plain_);
  EXPECT_EQ(open(device_, chain_, request), plain_);
  const Message answer = seal(device_, chain_, plain_);
  EXPECT_EQ(open(driver_, chain_, answer), plain_);
  EXPECT_NE(answer.sealed, request.sealed);
}

// ENC-7: direction, counter, both lengths of the chain, that of the message.
TEST_P(QueueCipherTest, OpensNothingThatIsElsewhere) {
  const Message request = seal(driver_, chain_, plain_);
  QueueCipher again = cipher(GetParam(), Side::kDriver);
  EXPECT_TRUE(open(again, chain_, request).empty());  // sent back to who sealed it
  for (SealedChain other :
       {SealedChain{.counter = 1, .readable = 100, .writable = 200},
        SealedChain{.counter = 0, .readable = 101, .writable = 200},
        SealedChain{.counter = 0, .readable = 100, .writable = 199},
        SealedChain{.counter = std::uint64_t{1} << 32, .readable = 100, .writable = 200}}) {
    EXPECT_TRUE(open(device_, other, request).empty()) << other.counter;
  }
  Message cut = request;
  cut.sealed.pop_back();
  EXPECT_TRUE(open(device_, chain_, cut).empty());
  EXPECT_EQ(open(device_, chain_, request), plain_);
}

// ENC-5, ENC-7: another key, another salt, another algorithm, another queue.
TEST_P(QueueCipherTest, OpensNothingOfAnotherSession) {
  const Message request = seal(driver_, chain_, plain_);
  QueueCipher key = cipher(GetParam(), Side::kDevice, 3, 9);
  EXPECT_TRUE(open(key, chain_, request).empty());
  QueueCipher salt = cipher(GetParam(), Side::kDevice, 3, 1, 9);
  EXPECT_TRUE(open(salt, chain_, request).empty());
  const Algorithm other =
      GetParam() == Algorithm::kAes256Gcm ? Algorithm::kChaCha20Poly1305 : Algorithm::kAes256Gcm;
  QueueCipher algorithm = cipher(other, Side::kDevice);
  EXPECT_TRUE(open(algorithm, chain_, request).empty());
  QueueCipher queue = cipher(GetParam(), Side::kDriver, 4);
  EXPECT_TRUE(open(device_, chain_, seal(queue, chain_, plain_)).empty());
}

// ENC-8, ENC-10.
TEST_P(QueueCipherTest, CountsChainsUntilTheKeyIsSpent) {
  EXPECT_EQ(MUST(driver_.next_chain(1, 2)).counter, 1U);
  driver_.skip_to(kChainsMost - 1);
  EXPECT_EQ(MUST(driver_.next_chain(1, 2)).counter, kChainsMost - 1);
  EXPECT_EQ(driver_.next_chain(1, 2).error(), (Error{.code = Errc::kKeySpent, .queue = 3}));
  EXPECT_EQ(driver_.next_chain(1, 2).error().code, Errc::kKeySpent);
}

INSTANTIATE_TEST_SUITE_P(Algorithms, QueueCipherTest,
                         ::testing::Values(Algorithm::kAes256Gcm, Algorithm::kChaCha20Poly1305),
                         [](const auto& one) {
                           return one.param == Algorithm::kAes256Gcm ? "Gcm" : "ChaCha";
                         });

// ENC-5. The expected bytes: HMAC-SHA256 of key 0, 1, ..., 31 over the label, 0200, 0300, the salt
// f0, f1, ..., ff and 01, by Python's hmac.
TEST(SessionKey, IsHkdfExpandOfAllThatTellsSessionsApart) {
  QueueSecret secret;
  secret.algorithm = Algorithm::kAes256Gcm;
  for (std::size_t i = 0; i < kKeyBytes; ++i)
    secret.key[i] = static_cast<std::byte>(i);
  for (std::size_t i = 0; i < kSaltBytes; ++i)
    secret.salt[i] = static_cast<std::byte>(0xf0 + i);
  constexpr std::array<unsigned, kKeyBytes> kExpected{
      0x4e, 0xe4, 0xb3, 0x89, 0xc7, 0x77, 0xc6, 0x5e, 0x72, 0x68, 0xa7,
      0xb3, 0xb9, 0xa8, 0x5c, 0xdf, 0x34, 0x3f, 0x2c, 0xfd, 0x42, 0x3f,
      0xf3, 0x8b, 0x6a, 0xa8, 0xcd, 0x01, 0xca, 0x94, 0x0e, 0x0b};
  Key expected{};
  std::ranges::transform(kExpected, expected.begin(),
                         [](unsigned byte) { return static_cast<std::byte>(byte); });
  EXPECT_EQ(session_key(secret, 3), expected);
}

TEST(QueueCipher, NeedsAnAlgorithmThatEncrypts) {
  QueueSecret secret;
  secret.algorithm = Algorithm::kNull;
  EXPECT_EQ(QueueCipher::create(secret, 0, Side::kDriver).error().code, Errc::kUnsupported);
}

TEST(Random, FillsAllOfIt) {
  Bytes first(100);
  Bytes second(100);
  fill_random(first);
  fill_random(second);
  EXPECT_NE(first, second);
  EXPECT_NE(std::accumulate(first.end() - 20, first.end(), 0,
                            [](int sum, std::byte one) { return sum + std::to_integer<int>(one); }),
            0);
}

}  // namespace
}  // namespace airlock::crypt
