// SPDX-License-Identifier: Apache-2.0
//
// Goal: what is sealed is what the standards say, and only that opens. Method: the published
// vectors, whole and in pieces of any length; each byte of a message changed in turn.
#include "crypt/aead.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace airlock::crypt {
namespace {

using Bytes = std::vector<std::byte>;

Bytes from_hex(std::string_view hex) {
  Bytes bytes;
  for (std::size_t at = 0; at < hex.size(); at += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoi(std::string(hex.substr(at, 2)), nullptr, 16)));
  }
  return bytes;
}

Bytes from_text(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  return {bytes.begin(), bytes.end()};
}

struct Vector {
  const char* name;
  Algorithm algorithm;
  Bytes key;
  Bytes nonce;
  Bytes associated;
  Bytes plain;
  Bytes sealed;
  Bytes tag;
};

// "The Galois/Counter Mode of Operation", test cases 13, 14 and 16; RFC 8439, 2.8.2.
std::vector<Vector> vectors() {
  const Bytes zeros(32, std::byte{0});
  const Bytes zero_nonce(12, std::byte{0});
  return {
      {.name = "GcmEmpty",
       .algorithm = Algorithm::kAes256Gcm,
       .key = zeros,
       .nonce = zero_nonce,
       .associated = {},
       .plain = {},
       .sealed = {},
       .tag = from_hex("530f8afbc74536b9a963b4f1c4cb738b")},
      {.name = "GcmOneBlock",
       .algorithm = Algorithm::kAes256Gcm,
       .key = zeros,
       .nonce = zero_nonce,
       .associated = {},
       .plain = Bytes(16, std::byte{0}),
       .sealed = from_hex("cea7403d4d606b6e074ec5d3baf39d18"),
       .tag = from_hex("d0d1c8a799996bf0265b98b5d48ab919")},
      {.name = "GcmAssociated",
       .algorithm = Algorithm::kAes256Gcm,
       .key = from_hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"),
       .nonce = from_hex("cafebabefacedbaddecaf888"),
       .associated = from_hex("feedfacedeadbeeffeedfacedeadbeefabaddad2"),
       .plain = from_hex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
                         "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"),
       .sealed = from_hex("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
                          "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"),
       .tag = from_hex("76fc6ece0f4e1768cddf8853bb2d551b")},
      {.name = "ChaCha20Poly1305",
       .algorithm = Algorithm::kChaCha20Poly1305,
       .key = from_hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"),
       .nonce = from_hex("070000004041424344454647"),
       .associated = from_hex("50515253c0c1c2c3c4c5c6c7"),
       .plain = from_text("Ladies and Gentlemen of the class of '99: If I could offer you only one "
                          "tip for the future, sunscreen would be it."),
       .sealed = from_hex("d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
                          "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
                          "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
                          "3ff4def08e4b7a9de576d26586cec64b6116"),
       .tag = from_hex("1ae10b594f09e26a7e902ecbd0600691")},
  };
}

class AeadTest : public ::testing::TestWithParam<Vector> {
 protected:
  [[nodiscard]] Nonce nonce() const { return Nonce(GetParam().nonce); }
  [[nodiscard]] Tag tag() const {
    Tag tag{};
    std::ranges::copy(GetParam().tag, tag.begin());
    return tag;
  }
  bool opens(Bytes sealed, std::span<const std::byte> associated, const Tag& tag) {
    aead_.begin_open(nonce(), associated);
    aead_.open(sealed);
    const bool opened = aead_.finish_open(tag);
    EXPECT_TRUE(!opened || sealed == GetParam().plain);
    return opened;
  }

  Aead aead_ = MUST(
      Aead::create(GetParam().algorithm, std::span<const std::byte, kKeyBytes>(GetParam().key)));
};

// ENC-6.
TEST_P(AeadTest, SealsAsPublishedInPiecesOfAnyLength) {
  const Vector& vector = GetParam();
  for (std::size_t piece = 1; piece <= vector.plain.size() + 1; ++piece) {
    Bytes sealed(vector.plain.size());
    aead_.begin_seal(nonce(), vector.associated);
    for (std::size_t at = 0; at < sealed.size(); at += piece) {
      const std::size_t length = std::min(piece, sealed.size() - at);
      aead_.seal(std::span(vector.plain).subspan(at, length),
                 std::span(sealed).subspan(at, length));
    }
    EXPECT_EQ(aead_.finish_seal(), tag());
    EXPECT_EQ(sealed, vector.sealed);
  }
}

TEST_P(AeadTest, OpensWhatWasPublished) {
  EXPECT_TRUE(opens(GetParam().sealed, GetParam().associated, tag()));
}

// ENC-9: whichever byte it is, of what was sealed, of what was not sent, of the tag.
TEST_P(AeadTest, RefusesWhateverWasChanged) {
  const Vector& vector = GetParam();
  for (std::size_t at = 0; at < vector.sealed.size(); ++at) {
    Bytes changed = vector.sealed;
    changed[at] ^= std::byte{1};
    EXPECT_FALSE(opens(changed, vector.associated, tag()));
  }
  for (std::size_t at = 0; at < vector.associated.size(); ++at) {
    Bytes changed = vector.associated;
    changed[at] ^= std::byte{0x80};
    EXPECT_FALSE(opens(vector.sealed, changed, tag()));
  }
  for (std::size_t at = 0; at < kTagBytes; ++at) {
    Tag changed = tag();
    changed[at] ^= std::byte{1};
    EXPECT_FALSE(opens(vector.sealed, vector.associated, changed));
  }
  EXPECT_TRUE(opens(vector.sealed, vector.associated, tag()));  // nothing of that lingers
}

INSTANTIATE_TEST_SUITE_P(Published, AeadTest, ::testing::ValuesIn(vectors()),
                         [](const auto& one) { return std::string(one.param.name); });

TEST(Aead, HasNoNullAlgorithm) {
  const Key key{};
  EXPECT_EQ(Aead::create(Algorithm::kNull, key).error().code, Errc::kUnsupported);
  EXPECT_EQ(Aead::create(Algorithm::kNone, key).error().code, Errc::kUnsupported);
}

}  // namespace
}  // namespace airlock::crypt
