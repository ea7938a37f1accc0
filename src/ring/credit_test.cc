// SPDX-License-Identifier: Apache-2.0
#include "ring/credit.h"

#include <gtest/gtest.h>

namespace airlock::ring {
namespace {

// VIRTIO 1.3, 5.10.6.3, ATK-13: whatever the peer's counters are, it gets no more than it has room
// for; and it may not send more than that.
TEST(Credit, IsNeverMoreThanThePeerHasRoomFor) {
  EXPECT_EQ(credit_free(100, 0, 0), 100U);
  EXPECT_EQ(credit_free(100, 60, 0), 40U);
  EXPECT_EQ(credit_free(100, 60, 60), 100U);
  EXPECT_EQ(credit_free(100, 5, 0xfffffff0), 79U);  // the counters have wrapped
  EXPECT_EQ(credit_free(100, 60, 61), 0U);          // it took more than there was
  EXPECT_EQ(credit_free(100, 101, 0), 0U);          // it made its buffer smaller
  EXPECT_EQ(credit_free(0xffffffff, 5, 0), 0xfffffffaU);
}

TEST(Credit, AllowsUpToTheLastByte) {
  EXPECT_TRUE(credit_allows(40, 60, 100));
  EXPECT_FALSE(credit_allows(41, 60, 100));
  EXPECT_FALSE(credit_allows(0xffffffff, 60, 100));
  EXPECT_TRUE(credit_allows(0, 100, 100));
}

}  // namespace
}  // namespace airlock::ring
