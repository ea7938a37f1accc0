// SPDX-License-Identifier: Apache-2.0
//
// Goal: people's names for algorithms mean the numbers on the wire, and nothing else is a name.
#include "crypt/algorithm.h"

#include <gtest/gtest.h>

namespace airlock::crypt {
namespace {

TEST(Algorithms, HaveNames) {
  for (const Algorithm one :
       {Algorithm::kNull, Algorithm::kAes256Gcm, Algorithm::kChaCha20Poly1305}) {
    EXPECT_EQ(parse_algorithm(name_of(one)), one);
    EXPECT_EQ(parse_algorithms(name_of(one)), algorithm_bit(one));
  }
  EXPECT_EQ(name_of(Algorithm::kNone), "?");
  EXPECT_EQ(algorithm_names(), "aes-256-gcm, chacha20-poly1305, null");
}

TEST(Algorithms, OfAListAreAMask) {
  EXPECT_EQ(parse_algorithms("aes-256-gcm,null"), 0b110U);
  EXPECT_EQ(parse_algorithms("chacha20-poly1305,chacha20-poly1305"), 0b1000U);
}

TEST(Algorithms, HaveNoOtherNames) {
  EXPECT_EQ(parse_algorithm("?"), std::nullopt);
  EXPECT_EQ(parse_algorithm("AES-256-GCM"), std::nullopt);
  for (const char* wrong : {"", ",", "null,", ",null", "null, null", "aes-256-gcm;null"})
    EXPECT_EQ(parse_algorithms(wrong), std::nullopt) << wrong;
}

}  // namespace
}  // namespace airlock::crypt
