// SPDX-License-Identifier: Apache-2.0
// Control commands through a real ring into the parser: each accepted form beside those that must
// be refused. VIRTIO 1.3, 5.1.6.5.
#include "device/net/net_command.h"

#include <gtest/gtest.h>

#include <vector>

#include "ring/split_device_queue.h"
#include "spec/virtio.h"
#include "testing/chain_builder.h"
#include "testing/test_region.h"

namespace airlock::device {
namespace {

using Kind = NetCommand::Kind;
using testing::ChainBuilder;

using Bytes = std::vector<std::uint8_t>;

class NetCommandTest : public ::testing::Test {
 protected:
  Result<void> parse(const Bytes& readable, std::uint32_t writable = 1) {
    ChainBuilder builder(driver_);
    if (!readable.empty()) builder.readable(std::as_bytes(std::span(readable)));
    if (writable > 0) builder.writable(writable);
    builder.submit();
    CHECK(MUST(ring_.pop(chain_)).has_value());
    auto done = parse_net_command(chain_, rules_, command_);
    MUST(ring_.push_used(chain_.head(), 0));
    return done;
  }
  void expect(Kind kind, const Bytes& readable) {
    ASSERT_TRUE(parse(readable));
    EXPECT_EQ(command_.kind, kind);
  }
  void expect_refused(const Bytes& readable) { expect(Kind::kRefused, readable); }
  /// Accepted, but not by one who did not negotiate `bit`.
  void expect_needs(unsigned bit, Kind kind, const Bytes& readable) {
    expect(kind, readable);
    const std::uint64_t all = rules_.features;
    rules_.features = all & ~spec::feature(bit);
    expect_refused(readable);
    rules_.features = all;
  }

  testing::TestRegion region_;
  testing::FakeDriver driver_{region_, 64};
  ring::SplitDeviceQueue ring_ =
      MUST(ring::SplitDeviceQueue::create(driver_.config(), region_.window()));
  ring::Chain chain_;
  NetCommand command_;
  NetCommandRules rules_{.features = ~std::uint64_t{0}, .pairs_max = 4};
};

// ATK-14; VIRTIO 1.3, 5.1.6.5.1.2: each switch by its own feature.
TEST_F(NetCommandTest, Switches) {
  expect_needs(spec::VIRTIO_NET_F_CTRL_RX, Kind::kPromiscuous, {0, 0, 1});
  EXPECT_FALSE(command_.on);
  expect(Kind::kPromiscuous, {0, 0, 1});
  EXPECT_TRUE(command_.on);
  expect_needs(spec::VIRTIO_NET_F_CTRL_RX, Kind::kAllMulticast, {0, 1, 0});
  expect_needs(spec::VIRTIO_NET_F_CTRL_RX_EXTRA, Kind::kAllUnicast, {0, 2, 1});
  expect_needs(spec::VIRTIO_NET_F_CTRL_RX_EXTRA, Kind::kNoMulticast, {0, 3, 1});
  expect_needs(spec::VIRTIO_NET_F_CTRL_RX_EXTRA, Kind::kNoUnicast, {0, 4, 1});
  expect_needs(spec::VIRTIO_NET_F_CTRL_RX_EXTRA, Kind::kNoBroadcast, {0, 5, 1});
}

TEST_F(NetCommandTest, ASwitchIsOnOrOff) {
  expect_refused({0, 0, 2});
  expect_refused({0, 0, 0xff});
  expect_refused({0, 0});
  expect_refused({0, 6, 1});
}

// VIRTIO 1.3, 5.1.6.5.2: two tables.
TEST_F(NetCommandTest, Tables) {
  const Bytes tables = {1, 0, 2, 0, 0, 0, 2, 0, 0, 0,    0,    1,    2,    0,
                        0, 0, 0, 2, 1, 0, 0, 0, 1, 0x00, 0x5e, 0x00, 0x00, 0x01};
  expect_needs(spec::VIRTIO_NET_F_CTRL_RX, Kind::kMacTables, tables);
  expect(Kind::kMacTables, tables);
  ASSERT_EQ(command_.unicast.count, 2U);
  EXPECT_EQ(command_.unicast.storage[1], (MacAddress{2, 0, 0, 0, 0, 2}));
  ASSERT_EQ(command_.multicast.count, 1U);
  EXPECT_EQ(command_.multicast.storage[0], (MacAddress{1, 0, 0x5e, 0, 0, 1}));
  expect(Kind::kMacTables, {1, 0, 0, 0, 0, 0, 0, 0, 0, 0});
  EXPECT_EQ(command_.unicast.count, 0U);
}

// ATK-3, ATK-13: a table is there as a whole, whatever it claims.
TEST_F(NetCommandTest, ATableIsWhole) {
  expect_refused({1, 0});
  expect_refused({1, 0, 0, 0, 0, 0});              // no second one
  expect_refused({1, 0, 0, 0, 0, 0, 0, 0, 0});     // half a count
  expect_refused({1, 0, 1, 0, 0, 0, 2, 0, 0, 0});  // half an address
  expect_refused({1, 0, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1});
  expect_refused({1, 0, 0xab, 0xaa, 0xaa, 0x2a, 2, 0, 0, 0, 0, 1});  // times 6 is 2 in 32 bits
  expect_refused({1, 2, 0, 0, 0, 0, 0, 0, 0, 0});                    // no such command
}

// VIRTIO 1.3, 5.1.6.5.2: as many as there may be; ATK-12: no more than are kept.
TEST_F(NetCommandTest, ATableThatIsTooLongIsEverything) {
  const auto tables = [](std::uint8_t count) {
    Bytes bytes = {1, 0, count, 0, 0, 0};
    bytes.resize(bytes.size() + count * std::size_t{6}, 2);
    bytes.insert(bytes.end(), {1, 0, 0, 0, 1, 0, 0x5e, 0, 0, 9});
    return bytes;
  };
  expect(Kind::kMacTables, tables(NetMacTable::kMost));
  EXPECT_EQ(command_.unicast.count, NetMacTable::kMost);
  EXPECT_FALSE(command_.unicast.all);
  expect(Kind::kMacTables, tables(NetMacTable::kMost + 1));
  EXPECT_EQ(command_.unicast.count, 0U);
  EXPECT_TRUE(command_.unicast.all);
  EXPECT_EQ(command_.multicast.storage[0], (MacAddress{1, 0, 0x5e, 0, 0, 9}));
}

TEST_F(NetCommandTest, Address) {
  expect_needs(spec::VIRTIO_NET_F_CTRL_MAC_ADDR, Kind::kMacAddress, {1, 1, 2, 0, 0, 0, 0, 5});
  expect(Kind::kMacAddress, {1, 1, 2, 0, 0, 0, 0, 5});
  EXPECT_EQ(command_.mac, (MacAddress{2, 0, 0, 0, 0, 5}));
  expect_refused({1, 1, 2, 0, 0, 0, 0});
}

// VIRTIO 1.3, 5.1.6.5.3; ATK-1: an id has 12 bits.
TEST_F(NetCommandTest, Vlans) {
  expect_needs(spec::VIRTIO_NET_F_CTRL_VLAN, Kind::kAddVlan, {2, 0, 7, 0});
  expect(Kind::kAddVlan, {2, 0, 0xff, 0x0f});
  EXPECT_EQ(command_.vlan, 4095);
  expect_needs(spec::VIRTIO_NET_F_CTRL_VLAN, Kind::kDeleteVlan, {2, 1, 7, 0});
  expect_refused({2, 0, 0, 0x10});
  expect_refused({2, 0, 0xff, 0xff});
  expect_refused({2, 0, 7});
  expect_refused({2, 2, 7, 0});
}

TEST_F(NetCommandTest, Announced) {
  expect_needs(spec::VIRTIO_NET_F_GUEST_ANNOUNCE, Kind::kAnnounced, {3, 0});
  expect_refused({3, 1});
}

// VIRTIO 1.3, 5.1.6.5.6, 5.1.6.5.6.1: neither 0 nor more than there are.
TEST_F(NetCommandTest, Pairs) {
  expect_needs(spec::VIRTIO_NET_F_MQ, Kind::kPairs, {4, 0, 4, 0});
  expect(Kind::kPairs, {4, 0, 1, 0});
  EXPECT_EQ(command_.pairs, 1);
  expect_refused({4, 0, 0, 0});
  expect_refused({4, 0, 5, 0});
  expect_refused({4, 0, 0, 0x80});
  expect_refused({4, 0, 1});
  expect_refused({4, 1, 1, 0});  // RSS, which is not on offer
}

// VIRTIO 1.3, 5.1.6.5.8, 5.1.6.5.8.1: none whose feature was not negotiated; each with what it
// requires.
TEST_F(NetCommandTest, Offloads) {
  const auto offloads = [](std::uint8_t low) { return Bytes{5, 0, low, 0, 0, 0, 0, 0, 0, 0}; };
  expect_needs(spec::VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, Kind::kOffloads, offloads(0));
  expect(Kind::kOffloads, offloads(0x82));  // GUEST_CSUM, GUEST_TSO4
  EXPECT_EQ(command_.offloads, 0x82U);
  expect_refused(offloads(0x80));  // without GUEST_CSUM
  expect_refused(offloads(0x01));  // CSUM, which is no offload of a driver's
  rules_.features &= ~spec::feature(spec::VIRTIO_NET_F_GUEST_TSO4);
  expect_refused(offloads(0x82));
  expect(Kind::kOffloads, offloads(0x02));
  expect_refused({5, 0, 2, 0, 0, 0, 0, 0, 0});
  expect_refused({5, 1, 2, 0, 0, 0, 0, 0, 0, 0});
}

TEST_F(NetCommandTest, UnknownClassesAndHalfHeadersAreRefused) {
  expect_refused({6, 0, 1, 0, 0, 0, 0, 0, 0, 0});
  expect_refused({0xff, 0xff});
  expect_refused({0});
  expect_refused({});
}

// VIRTIO 1.3, 2.7.4: however it was cut.
TEST_F(NetCommandTest, FramingMeansNothing) {
  ChainBuilder builder(driver_);
  for (const std::uint8_t byte : Bytes{2, 0, 7, 0})
    builder.readable(std::as_bytes(std::span(&byte, 1)));
  builder.writable(1).submit();
  ASSERT_TRUE(MUST(ring_.pop(chain_)));
  ASSERT_TRUE(parse_net_command(chain_, rules_, command_));
  EXPECT_EQ(command_.kind, Kind::kAddVlan);
  EXPECT_EQ(command_.vlan, 7);
}

// ATK-5: nothing can be answered.
TEST_F(NetCommandTest, ACommandWithoutRoomForAnAckBreaksTheQueue) {
  EXPECT_TRUE(parse({3, 0}, 1));
  const auto parsed = parse({3, 0}, 0);
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().code, Errc::kTooSmall);
}

}  // namespace
}  // namespace airlock::device
