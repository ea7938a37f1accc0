// SPDX-License-Identifier: Apache-2.0
//
// Goal: frames are handed out in the very buffers that the device filled, and what it says of them
// is checked as where they are copied. Method: a card in this process, honest and not.
#include "driver/net_in_place_receiver.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "testing/net_fixture.h"

namespace airlock::driver {
namespace {

using namespace std::chrono_literals;
using testing::net_frame;

class NetInPlaceTest : public testing::NetFixture {
 protected:
  NetInPlaceTest() {
    set_log_level(LogLevel::kError);
    options_.receive_in_place = true;
    options_.receive_bytes = 8 * pool::kSlotBytes;
  }
  NetInPlaceReceiver& in_place() { return net().in_place_receiver(0); }
  std::optional<NetReceivedInPlace> take_one() { return MUST(in_place().poll()); }
  void expect_in_place_works() {
    ASSERT_TRUE(card().deliver(net_frame(300, 8)));
    const auto received = take_one();
    ASSERT_TRUE(received);
    EXPECT_TRUE(std::ranges::equal(received->frame, net_frame(300, 8)));
  }
};

TEST_F(NetInPlaceTest, HandsOutTheBuffersThemselves) {
  open();
  std::vector<NetReceivedInPlace> kept;
  for (unsigned i = 0; i < 20; i++) {
    ASSERT_TRUE(card().deliver(net_frame(1514, i)));
    kept.push_back(*take_one());
  }
  for (unsigned i = 0; i < kept.size(); i++) {
    EXPECT_TRUE(std::ranges::equal(kept[i].frame, net_frame(1514, i))) << i;
    EXPECT_EQ(kept[i].frame.data(), kept[i].buffer.span().data() + 12);
    EXPECT_TRUE(net().device().pool().contains(kept[i].frame));
  }
  EXPECT_FALSE(take_one());
  EXPECT_EQ(net().device().pool().stats().bytes_from_device, 0U);
  EXPECT_EQ(net().received().frames, 20U);
  EXPECT_EQ(net().received().bytes, 20U * 1514);
}

// Without, it would be cut into pieces: the card is not let use several buffers.
TEST_F(NetInPlaceTest, AFrameLiesInOneBuffer) {
  card().own_features |= spec::feature(spec::VIRTIO_NET_F_MRG_RXBUF);
  card().config.mtu.set(3000);
  open();
  EXPECT_FALSE(net().device().has(spec::VIRTIO_NET_F_MRG_RXBUF));
  ASSERT_TRUE(card().deliver(net_frame(3014), {.num_buffers = 77}));  // means nothing here
  EXPECT_TRUE(std::ranges::equal(take_one()->frame, net_frame(3014)));
}

// HD-26: a buffer that was filled before shows a device nothing of that.
TEST_F(NetInPlaceTest, ABufferComesToTheDeviceZeroed) {
  open();
  for (int i = 0; i < 100; i++) {
    ASSERT_TRUE(card().deliver(net_frame(1514)));
    ASSERT_TRUE(take_one());
  }
  ASSERT_TRUE(card().deliver(net_frame(14)));
  const auto received = take_one();
  EXPECT_TRUE(std::ranges::all_of(received->buffer.span().subspan(12 + 14),
                                  [](std::byte b) { return b == std::byte{0}; }));
}

TEST_F(NetInPlaceTest, WaitsForAFrame) {
  open();
  EXPECT_EQ(in_place().wait(1ms).error().code, Errc::kTimeout);
  ASSERT_TRUE(card().deliver(net_frame(60)));
  EXPECT_TRUE(in_place().wait(1s));
  EXPECT_TRUE(in_place().wait(1s)) << "nothing was taken yet";
  EXPECT_TRUE(take_one());
}

TEST_F(NetInPlaceTest, TellsOfChecksums) {
  open();
  spec::VirtioNetHdr header;
  header.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header.csum_start.set(34);
  header.csum_offset.set(24);
  ASSERT_TRUE(card().deliver(net_frame(60), {.header = header}));
  EXPECT_EQ(take_one()->missing_checksum, (NetChecksum{34, 24}));
  header.csum_offset.set(25);  // the twin: outside
  ASSERT_TRUE(card().deliver(net_frame(60), {.header = header}));
  EXPECT_FALSE(take_one());
  EXPECT_EQ(net().received().nonsense, 1U);
  expect_in_place_works();
}

// A header that asks for what was not agreed upon, or no frame at all, costs nothing else.
TEST_F(NetInPlaceTest, DropsNonsense) {
  open();
  for (int i = 0; i < 100; i++) {
    ASSERT_TRUE(card().deliver(net_frame(13)));
    EXPECT_FALSE(take_one());
  }
  spec::VirtioNetHdr header;
  header.gso_type = spec::VIRTIO_NET_HDR_GSO_TCPV4;
  ASSERT_TRUE(card().deliver(net_frame(60), {.header = header}));
  EXPECT_FALSE(take_one());
  EXPECT_EQ(net().received().nonsense, 101U);
  expect_in_place_works();
}

// HD-3: less than a header, more than the buffer.
TEST_F(NetInPlaceTest, LengthsThatAreLiesBreakIt) {
  open();
  ASSERT_TRUE(card().deliver(net_frame(60), {.written = 11}));
  EXPECT_EQ(in_place().poll().error().code, Errc::kBadLength);
  EXPECT_EQ(in_place().broken()->code, Errc::kBadLength);
  EXPECT_NE(device_.device().status() & spec::VIRTIO_CONFIG_S_FAILED, 0);
  ASSERT_TRUE(net().reset());
  expect_in_place_works();
  auto ring = card().raw(0);
  ring.put_used(1, {.id = 1, .length = 2049});  // the second, after that of expect_in_place_works
  ring.set_used_index(2);
  EXPECT_EQ(in_place().poll().error().code, Errc::kBadLength);
  ASSERT_TRUE(net().reset());
  expect_in_place_works();
}

// Frames that were kept survive; what was not handed out is gone.
TEST_F(NetInPlaceTest, AResetTakesNothingThatWasHandedOut) {
  open();
  ASSERT_TRUE(card().deliver(net_frame(60, 1)));
  const auto kept = take_one();
  ASSERT_TRUE(card().deliver(net_frame(60, 2)));
  ASSERT_TRUE(net().reset());
  EXPECT_TRUE(std::ranges::equal(kept->frame, net_frame(60, 1)));
  EXPECT_FALSE(take_one());
  expect_in_place_works();
}

// ENC-12.
TEST_F(NetInPlaceTest, NotWhereQueuesAreEncrypted) {
  options_.device.encryption = crypt::Algorithm::kAes256Gcm;
  EXPECT_EQ(try_open().error().code, Errc::kUnsupported);
}

TEST_F(NetInPlaceTest, NeedsRoomForABuffer) {
  options_.receive_bytes = 2047;
  EXPECT_EQ(try_open().error().code, Errc::kTooLarge);
}

}  // namespace
}  // namespace airlock::driver
