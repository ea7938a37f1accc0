// SPDX-License-Identifier: Apache-2.0
// The driver's half of an encrypted request against a device's cipher over the same memory: what
// crosses is ciphertext, and an answer that is not what was sealed is not believed.
#include "compare/rig_sealer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "compare/device_link.h"
#include "shm/sealed_memfd.h"

namespace airlock::compare {
namespace {

constexpr std::uint64_t kSealerBytes = 65536;
constexpr std::size_t kDataBytes = 512;
constexpr RigSealer::Place kSealerPlace{.frame = 4096, .data = 8192};

class SealerTest : public testing::TestWithParam<crypt::Algorithm> {
 protected:
  [[nodiscard]] crypt::QueueCipher cipher(crypt::Side side) const {
    return MUST(crypt::QueueCipher::create(*keys_.secret(), 0, side));
  }
  [[nodiscard]] std::vector<std::byte> seen(std::uint64_t offset, std::size_t bytes) const {
    std::vector<std::byte> found(bytes);
    mapping_.bytes().copy_out(offset, found);
    return found;
  }
  /// Seals a read; the device answers it with `data_` and `status`.
  crypt::SealedChain answered_read(std::uint8_t status) {
    const crypt::SealedChain chain = MUST(sealer_.seal(kSealerPlace, {}, {}, kDataBytes));
    const auto taken = MUST(device_.next_chain(chain.readable, chain.writable));
    device_.begin_seal(taken, kDataBytes + 1);
    device_.seal(data_, mapping_.bytes(), kSealerPlace.data);
    const std::uint64_t end = kSealerPlace.frame + RigSealer::kStatusAt;
    device_.seal(std::as_bytes(std::span(&status, 1)), mapping_.bytes(), end);
    mapping_.bytes().copy_in(end + 1, device_.finish_seal());
    return chain;
  }
  /// What an answer with one bit changed at `offset` comes to.
  Errc refusal_of_a_change(std::uint64_t offset) {
    const crypt::SealedChain chain = answered_read(0);
    std::vector<std::byte> byte = seen(offset, 1);
    byte[0] ^= std::byte{1};
    mapping_.bytes().copy_in(offset, byte);
    std::vector<std::byte> target(kDataBytes, std::byte{9});
    const auto opened = sealer_.open(chain, kSealerPlace, chain.writable, target);
    EXPECT_TRUE(std::ranges::all_of(target, [](std::byte b) { return b == std::byte{0}; }));
    return opened ? Errc{} : opened.error().code;
  }

  shm::SealedMemfd file_ = MUST(shm::SealedMemfd::create({.name = "test", .size = kSealerBytes}));
  shm::Mapping mapping_ = MUST(file_.map());
  QueueKeys keys_ = QueueKeys::make(GetParam());
  RigSealer sealer_{cipher(crypt::Side::kDriver), mapping_.bytes()};
  crypt::QueueCipher device_ = cipher(crypt::Side::kDevice);
  std::vector<std::byte> data_ = std::vector<std::byte>(kDataBytes, std::byte{0x5a});
};

INSTANTIATE_TEST_SUITE_P(Algorithms, SealerTest,
                         testing::Values(crypt::Algorithm::kAes256Gcm,
                                         crypt::Algorithm::kChaCha20Poly1305));

// ENC-6, ENC-11.
TEST_P(SealerTest, SealsHeaderAndDataAsOneMessage) {
  spec::VirtioBlkReqHeader header;
  header.sector = Le64(77);
  const crypt::SealedChain chain = MUST(sealer_.seal(kSealerPlace, header, data_, 0));
  EXPECT_EQ(chain.readable, sizeof header + kDataBytes + RigSealer::kTag);
  EXPECT_EQ(chain.writable, 1 + RigSealer::kTag);
  EXPECT_NE(seen(kSealerPlace.data, kDataBytes), data_);
  const auto taken = MUST(device_.next_chain(chain.readable, chain.writable));
  device_.begin_open(taken, chain.readable - RigSealer::kTag);
  spec::VirtioBlkReqHeader opened;
  device_.open(mapping_.bytes(), kSealerPlace.frame, std::as_writable_bytes(std::span(&opened, 1)));
  std::vector<std::byte> data(kDataBytes);
  device_.open(mapping_.bytes(), kSealerPlace.data, data);
  crypt::Tag tag{};
  mapping_.bytes().copy_out(kSealerPlace.frame + RigSealer::kTagAt, tag);
  ASSERT_TRUE(device_.finish_open(tag));
  EXPECT_EQ(opened.sector.get(), 77U);
  EXPECT_EQ(data, data_);
  EXPECT_EQ(sealer_.data_bytes(), kDataBytes);
}

TEST_P(SealerTest, OpensTheAnswer) {
  const crypt::SealedChain chain = answered_read(2);
  EXPECT_NE(seen(kSealerPlace.data, kDataBytes), data_);
  std::vector<std::byte> target(kDataBytes);
  EXPECT_EQ(MUST(sealer_.open(chain, kSealerPlace, chain.writable, target)), 2U);
  EXPECT_EQ(target, data_);
}

// ENC-9.
TEST_P(SealerTest, BelievesNoAnswerThatWasChanged) {
  EXPECT_EQ(refusal_of_a_change(kSealerPlace.data), Errc::kNotAuthentic);
  const std::uint64_t end = kSealerPlace.frame + RigSealer::kStatusAt;
  EXPECT_EQ(refusal_of_a_change(end), Errc::kNotAuthentic);
  EXPECT_EQ(refusal_of_a_change(end + 1), Errc::kNotAuthentic);
}

TEST_P(SealerTest, BelievesNoAnswerThatIsShortOrAnothers) {
  crypt::SealedChain chain = answered_read(0);
  std::vector<std::byte> target(kDataBytes);
  EXPECT_EQ(sealer_.open(chain, kSealerPlace, chain.writable - 1, target).error().code,
            Errc::kNotAuthentic);
  chain = answered_read(0);
  ++chain.counter;
  EXPECT_EQ(sealer_.open(chain, kSealerPlace, chain.writable, target).error().code,
            Errc::kNotAuthentic);
}

// SYS-9, ENC-5: who has no counters to go on from, as after a snapshot, begins with keys of its
// own. The first message of two sessions has the same nonce; under one key it is the same message.
TEST_P(SealerTest, ASessionWithoutCountersUsesNoNonceAgain) {
  const auto first_message = [&](const QueueKeys& keys) {
    RigSealer sealer(MUST(crypt::QueueCipher::create(*keys.secret(), 0, crypt::Side::kDriver)),
                     mapping_.bytes());
    const crypt::SealedChain chain = MUST(sealer.seal(kSealerPlace, {}, data_, 0));
    EXPECT_EQ(chain.counter, 0U);
    return seen(kSealerPlace.data, kDataBytes);
  };
  const std::vector<std::byte> before = first_message(keys_);
  EXPECT_NE(first_message(QueueKeys::make(GetParam())), before);
  EXPECT_EQ(first_message(keys_), before);  // what must not happen, and that it would be seen
}

}  // namespace
}  // namespace airlock::compare
