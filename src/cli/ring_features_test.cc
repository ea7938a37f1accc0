// SPDX-License-Identifier: Apache-2.0
#include "cli/ring_features.h"

#include <gtest/gtest.h>

#include "spec/virtio.h"

namespace airlock::cli {
namespace {

constexpr std::uint64_t kPacked = spec::feature(spec::VIRTIO_F_RING_PACKED);
constexpr std::uint64_t kEventIdx = spec::feature(spec::VIRTIO_F_EVENT_IDX);
constexpr std::uint64_t kInOrder = spec::feature(spec::VIRTIO_F_IN_ORDER);
constexpr std::uint64_t kOther = std::uint64_t{1} << 5;

TEST(RingFeatures, ChangeOnlyWhereTheyAreNamed) {
  EXPECT_EQ(choose_ring_features("packed=off", kPacked | kEventIdx | kOther), kEventIdx | kOther);
  EXPECT_EQ(choose_ring_features("in_order=on", kPacked), kPacked | kInOrder);
  EXPECT_EQ(choose_ring_features("packed=on,event_idx=off,in_order=on", kEventIdx),
            kPacked | kInOrder);
}

TEST(RingFeatures, LastWordCounts) {
  EXPECT_EQ(choose_ring_features("packed=on,packed=off", 0), 0U);
  EXPECT_EQ(choose_ring_features("packed=off,packed=on", 0), kPacked);
}

// VIRTIO 1.3, 6.
TEST(RingFeatures, EveryNameIsKnown) {
  std::uint64_t all = 0;
  for (const char* name :
       {"packed", "indirect", "event_idx", "in_order", "notification_data", "ring_reset"}) {
    EXPECT_NE(ring_feature_names().find(name), std::string::npos);
    all = choose_ring_features(std::string(name) + "=on", all).value();
  }
  EXPECT_EQ(all, ring_features_known());
}

TEST(RingFeatures, RefusesWhatItDoesNotKnowAndSaysWhatItDoes) {
  for (const char* text : {"", "zero_copy=on", "packed", "packed=", "packed=maybe", "packed=on,",
                           ",packed=on", "packed=on,,in_order=on", "packed =on", "=on", "="}) {
    const auto chosen = choose_ring_features(text, kEventIdx);
    ASSERT_FALSE(chosen) << text;
    EXPECT_NE(chosen.error().find(ring_feature_names()), std::string::npos) << chosen.error();
  }
}

TEST(RingFeatures, AreNamedWithoutTheFormat) {
  EXPECT_TRUE(names_of_ring_features(kPacked | kOther).empty());
  EXPECT_EQ(names_of_ring_features(kPacked | kEventIdx | kInOrder),
            (std::vector<std::string>{"event_idx", "in_order"}));
}

}  // namespace
}  // namespace airlock::cli
