// SPDX-License-Identifier: Apache-2.0
// Which frames a driver gets: every switch, on and off. VIRTIO 1.3, 5.1.6.5.1 to 5.1.6.5.3.
#include "device/net/net_filter.h"

#include <gtest/gtest.h>

#include <vector>

#include "spec/virtio.h"

namespace airlock::device {
namespace {

constexpr MacAddress kOwn = {2, 0, 0, 0, 0, 1};
constexpr MacAddress kOther = {2, 0, 0, 0, 0, 2};
constexpr MacAddress kGroup = {1, 0, 0x5e, 0, 0, 1};
constexpr MacAddress kOtherGroup = {1, 0, 0x5e, 0, 0, 2};
constexpr MacAddress kBroadcast = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

std::vector<std::byte> frame(const MacAddress& target, unsigned type = 0x0800, unsigned tag = 0) {
  std::vector<std::byte> bytes(60);
  for (std::size_t i = 0; i < target.size(); ++i) {
    bytes[i] = static_cast<std::byte>(target[i]);
  }
  bytes[12] = static_cast<std::byte>(type >> 8);
  bytes[13] = static_cast<std::byte>(type & 0xff);
  bytes[14] = static_cast<std::byte>(tag >> 8);
  bytes[15] = static_cast<std::byte>(tag & 0xff);
  return bytes;
}

std::vector<std::byte> tagged(unsigned tag) {
  return frame(kOwn, 0x8100, tag);
}

void add(NetMacTable& table, const MacAddress& address) {
  table.storage[table.count++] = address;
}

class NetFilterTest : public ::testing::Test {
 protected:
  NetFilter filter_ = NetFilter::initial(~std::uint64_t{0}, kOwn);
};

// 5.1.6.5.2.1: the table is empty at first, so only its own address is the driver's.
TEST_F(NetFilterTest, BeginsWithTheOwnAddressAndBroadcast) {
  EXPECT_TRUE(filter_.admits(frame(kOwn)));
  EXPECT_TRUE(filter_.admits(frame(kBroadcast)));
  EXPECT_FALSE(filter_.admits(frame(kOther)));
  EXPECT_FALSE(filter_.admits(frame(kGroup)));
}

TEST_F(NetFilterTest, WithoutTheCommandsADriverGetsEverything) {
  filter_ = NetFilter::initial(spec::feature(spec::VIRTIO_NET_F_MAC), kOwn);
  for (const MacAddress& target : {kOwn, kOther, kGroup, kBroadcast}) {
    EXPECT_TRUE(filter_.admits(frame(target)));
  }
  EXPECT_TRUE(filter_.admits(tagged(7)));
}

// 5.1.4.2: who did not ask for the address made one up.
TEST_F(NetFilterTest, WithoutAnAddressOfOursADriverGetsAllUnicast) {
  filter_ = NetFilter::initial(~spec::feature(spec::VIRTIO_NET_F_MAC), kOwn);
  EXPECT_TRUE(filter_.admits(frame(kOther)));
  EXPECT_FALSE(filter_.admits(frame(kGroup)));
}

TEST_F(NetFilterTest, PromiscuousIsEverything) {
  filter_.promiscuous = true;
  filter_.no_unicast = true;
  for (const MacAddress& target : {kOwn, kOther, kGroup, kBroadcast}) {
    EXPECT_TRUE(filter_.admits(frame(target)));
  }
}

TEST_F(NetFilterTest, TablesNameWhatIsWanted) {
  add(filter_.unicast, kOther);
  add(filter_.multicast, kGroup);
  EXPECT_TRUE(filter_.admits(frame(kOther)));
  EXPECT_TRUE(filter_.admits(frame(kGroup)));
  EXPECT_TRUE(filter_.admits(frame(kOwn)));
  EXPECT_FALSE(filter_.admits(frame(kOtherGroup)));
  // An address in the table of the other kind is not wanted.
  filter_.unicast.storage[0] = kOtherGroup;
  filter_.multicast.storage[0] = kOther;
  EXPECT_FALSE(filter_.admits(frame(kOther)));
  EXPECT_FALSE(filter_.admits(frame(kOtherGroup)));
}

// 5.1.6.5.2: a table that was too long filters nothing of its kind.
TEST_F(NetFilterTest, ATableOfEverything) {
  filter_.multicast.all = true;
  EXPECT_TRUE(filter_.admits(frame(kOtherGroup)));
  EXPECT_FALSE(filter_.admits(frame(kOther)));
  filter_.unicast.all = true;
  EXPECT_TRUE(filter_.admits(frame(kOther)));
}

TEST_F(NetFilterTest, SwitchesAdd) {
  filter_.all_multicast = true;
  EXPECT_TRUE(filter_.admits(frame(kOtherGroup)));
  EXPECT_FALSE(filter_.admits(frame(kOther)));
  filter_.all_unicast = true;
  EXPECT_TRUE(filter_.admits(frame(kOther)));
}

// 5.1.6.5.1.1: what suppresses wins over what adds, and is about one kind each.
TEST_F(NetFilterTest, SwitchesSuppress) {
  filter_.all_multicast = true;
  filter_.all_unicast = true;
  filter_.no_multicast = true;
  EXPECT_FALSE(filter_.admits(frame(kGroup)));
  EXPECT_TRUE(filter_.admits(frame(kBroadcast)));
  EXPECT_TRUE(filter_.admits(frame(kOwn)));
  filter_.no_broadcast = true;
  EXPECT_FALSE(filter_.admits(frame(kBroadcast)));
  filter_.no_unicast = true;
  EXPECT_FALSE(filter_.admits(frame(kOwn)));
}

// 5.1.6.5.3.1: VLANs in the table pass, others don't; what names no VLAN is not concerned.
TEST_F(NetFilterTest, VlansAreThoseOfTheTable) {
  filter_.vlans.set(7);
  EXPECT_TRUE(filter_.admits(tagged(7)));
  EXPECT_TRUE(filter_.admits(tagged(0x6007)));  // with a priority
  EXPECT_FALSE(filter_.admits(tagged(8)));
  EXPECT_FALSE(filter_.admits(tagged(4095)));
  EXPECT_TRUE(filter_.admits(tagged(0)));
  EXPECT_TRUE(filter_.admits(tagged(0x6000)));
  EXPECT_TRUE(filter_.admits(frame(kOwn)));
}

// 5.1.6.5.3.1: without the feature all of them pass.
TEST_F(NetFilterTest, WithoutTheFeatureAllVlansPass) {
  filter_ = NetFilter::initial(~spec::feature(spec::VIRTIO_NET_F_CTRL_VLAN), kOwn);
  EXPECT_TRUE(filter_.admits(tagged(8)));
}

// A frame cut off in its tag names no VLAN; nothing behind its end is looked at.
TEST_F(NetFilterTest, AShortFrameIsLookedAtNoFurther) {
  const std::vector<std::byte> whole = tagged(8);
  EXPECT_TRUE(filter_.admits(std::span(whole).first(14)));
  EXPECT_TRUE(filter_.admits(std::span(whole).first(17)));
  EXPECT_FALSE(filter_.admits(std::span(whole).first(18)));
}

TEST(NetFilterBoard, ShowsWhatWasPostedLast) {
  NetFilterBoard board;
  EXPECT_EQ(board.version(), 0U);
  NetFilter filter;
  filter.vlans.set(5);
  board.post(filter);
  const std::uint64_t version = board.version();
  EXPECT_GT(version, 0U);
  NetFilter read;
  EXPECT_EQ(board.read(read), version);
  EXPECT_TRUE(read.vlans.test(5));
}

}  // namespace
}  // namespace airlock::device
