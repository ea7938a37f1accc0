// SPDX-License-Identifier: Apache-2.0
#include "cli/piece_bytes.h"

#include <gtest/gtest.h>

namespace airlock::cli {
namespace {

TEST(PieceBytes, AreWholePagesAndNoMoreThanThereIsRoomFor) {
  EXPECT_EQ(piece_bytes(64 << 20, 512), 1U << 20);
  EXPECT_EQ(piece_bytes(130'000, 512), 126'976U);
  EXPECT_EQ(piece_bytes(100, 512), 4096U);
}

// A request of a part of a block is one that every disk refuses.
TEST(PieceBytes, AreWholeBlocks) {
  EXPECT_EQ(piece_bytes(130'000, 65536), 65536U);
  EXPECT_EQ(piece_bytes(130'000, 16384), 114'688U);
  EXPECT_EQ(piece_bytes(100, 65536), 65536U);
  EXPECT_EQ(piece_bytes(64 << 20, 4 << 20), 4U << 20);
}

}  // namespace
}  // namespace airlock::cli
