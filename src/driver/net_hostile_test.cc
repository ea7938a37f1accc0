// SPDX-License-Identifier: Apache-2.0
//
// Goal: a network card that lies gets an error for it, each frame still ends exactly once, and what
// is received is never more than what it wrote. Method: each lie by itself, in the header, the
// lengths, the ring or an answer; after it the card is honest again, and must work.
#include <gtest/gtest.h>

#include "driver/net.h"
#include "testing/net_fixture.h"

namespace airlock::driver {
namespace {

using namespace std::chrono_literals;
using testing::net_frame;
using Delivery = testing::FakeNet::Delivery;

class NetHostileTest : public testing::NetFixture {
 protected:
  NetHostileTest() { set_log_level(LogLevel::kError); }

  // The queue is broken by it, the device is given up, and a reset mends both.
  void expect_receiver_broken(Errc code) {
    EXPECT_EQ(receiver().poll().error().code, code);
    EXPECT_EQ(receiver().wait(1s).error().code, code);
    EXPECT_EQ(receiver().broken()->code, code);
    EXPECT_NE(device_.device().status() & spec::VIRTIO_CONFIG_S_FAILED, 0);
    EXPECT_FALSE(net().send(net_frame(60)));
    ASSERT_TRUE(net().reset());
    expect_works();
  }
  // It costs the frame and nothing else.
  void expect_dropped() {
    EXPECT_FALSE(MUST(receiver().poll()));
    EXPECT_EQ(net().received().nonsense, 1U);
    expect_works();
  }
};

// HD-3: a buffer of less than a header, with a header in it all the same.
TEST_F(NetHostileTest, AFrameShorterThanItsHeader) {
  for (const std::uint32_t written : {0U, 11U}) {
    open();
    ASSERT_TRUE(card().deliver(net_frame(60), {.written = written}));
    expect_receiver_broken(Errc::kBadLength);
    net_.reset();
  }
}

// HD-3: more than the buffer has.
TEST_F(NetHostileTest, AFrameLongerThanItsBuffer) {
  open();
  auto ring = card().raw(0);
  ring.put_used(0, {.id = 0, .length = 4097});
  ring.set_used_index(1);
  expect_receiver_broken(Errc::kBadLength);
}

// HD-2: the same buffer twice.
TEST_F(NetHostileTest, ABufferUsedTwice) {
  open();
  auto ring = card().raw(0);
  const std::uint32_t id = ring.available(0);
  ring.put_used(0, {.id = id, .length = 12 + 60});
  ring.put_used(1, {.id = id, .length = 12 + 60});
  ring.set_used_index(2);
  EXPECT_EQ(receiver().poll().error().code, Errc::kMalformed);  // zeros: a frame of no buffers
  ASSERT_TRUE(net().reset());
  ring = card().raw(0);
  ASSERT_TRUE(card().deliver(net_frame(60)));
  EXPECT_EQ(take(), net_frame(60));
  ring.put_used(1, {.id = ring.available(0), .length = 12 + 60});
  ring.put_used(2, {.id = ring.available(0), .length = 12 + 60});
  ring.set_used_index(3);
  EXPECT_FALSE(receiver().poll());
  EXPECT_FALSE(receiver().wait(1s));
}

// HD-1, HD-4.
TEST_F(NetHostileTest, ARingThatJumps) {
  open();
  card().raw(0).set_used_index(100);
  expect_receiver_broken(Errc::kBadIndexJump);
  auto ring = card().raw(0);
  ring.put_used(ring.used_index(), {.id = 16, .length = 72});
  ring.set_used_index(static_cast<std::uint16_t>(2));
  EXPECT_FALSE(receiver().poll());
}

class NetBuffersLieTest : public NetHostileTest,
                          public ::testing::WithParamInterface<std::uint16_t> {};

// VIRTIO 1.3, 5.1.6.4.1: num_buffers of none, and of more than it was given.
TEST_P(NetBuffersLieTest, BreaksTheQueue) {
  open();
  ASSERT_TRUE(card().deliver(net_frame(60), {.num_buffers = GetParam()}));
  expect_receiver_broken(Errc::kMalformed);
}
INSTANTIATE_TEST_SUITE_P(Numbers, NetBuffersLieTest, ::testing::Values(0, 17, 0x8000, 0xffff));

// A frame of two buffers, of which the second never comes: nothing is handed out, nobody hangs, and
// what comes next is a part of it.
TEST_F(NetHostileTest, AFrameWhoseEndNeverComes) {
  open();
  ASSERT_TRUE(card().deliver(net_frame(60), {.num_buffers = 2}));
  EXPECT_FALSE(MUST(receiver().poll()));
  EXPECT_EQ(receiver().wait(5ms).error().code, Errc::kTimeout);
  ASSERT_TRUE(card().deliver(net_frame(60)));
  EXPECT_EQ(take().size(), 60U + 12U + 60U);
  expect_works();
}

// HD-3: each buffer is within what it was given, and all together more than any frame is.
TEST_F(NetHostileTest, AFrameOfMoreThanAnyHas) {
  card().queue_sizes = {64, 16, 16};
  options_.receive_bytes = std::uint64_t{256} << 10;
  open();
  ASSERT_TRUE(card().deliver(net_frame(kReceivedFrameMax)));
  EXPECT_EQ(take(), net_frame(kReceivedFrameMax));
  ASSERT_TRUE(card().deliver(net_frame(kReceivedFrameMax + 1)));
  expect_receiver_broken(Errc::kBadLength);
}

TEST_F(NetHostileTest, AFrameOfLessThanAnyHas) {
  open();
  ASSERT_TRUE(card().deliver(net_frame(13)));
  expect_dropped();
}

// VIRTIO 1.3, 5.1.6.4.2: segments were not negotiated.
TEST_F(NetHostileTest, AHeaderOfSegments) {
  for (const int type : {1, 3, 4, 5, 0x80, 0xff}) {
    open();
    Delivery how;
    how.header.gso_type = static_cast<std::uint8_t>(type);
    how.header.gso_size.set(1000);
    ASSERT_TRUE(card().deliver(net_frame(60), how));
    expect_dropped();
    net_.reset();
  }
}

TEST_F(NetHostileTest, AChecksumOutsideItsFrame) {
  open();
  Delivery how;
  how.header.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM;
  how.header.csum_start.set(0xffff);
  how.header.csum_offset.set(0xffff);
  ASSERT_TRUE(card().deliver(net_frame(60), how));
  EXPECT_FALSE(MUST(receiver().poll()));
  how.header.csum_start.set(59);
  how.header.csum_offset.set(0);
  ASSERT_TRUE(card().deliver(net_frame(60), how));
  EXPECT_FALSE(MUST(receiver().poll()));
  EXPECT_EQ(net().received().nonsense, 2U);
  how.header.csum_start.set(58);
  ASSERT_TRUE(card().deliver(net_frame(60), how));
  EXPECT_EQ(take(), net_frame(60));
}

TEST_F(NetHostileTest, AChecksumThatWasNotNegotiated) {
  without(spec::VIRTIO_NET_F_GUEST_CSUM);
  open();
  Delivery how;
  how.header.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM;
  ASSERT_TRUE(card().deliver(net_frame(60), how));
  expect_dropped();
}

// A card that sends nothing but nonsense, as fast as it is read: each look ends.
TEST_F(NetHostileTest, NonsenseWithoutEnd) {
  open();
  for (int i = 0; i < 200; i++) {
    ASSERT_TRUE(card().deliver(net_frame(13)));
    EXPECT_FALSE(MUST(receiver().poll()));
  }
  EXPECT_EQ(net().received().nonsense, 200U);
  expect_works();
}

// HD-11: what was handed out is the driver's own copy.
TEST_F(NetHostileTest, AFrameThatIsRewrittenLater) {
  open();
  ASSERT_TRUE(card().deliver(net_frame(60)));
  const auto received = MUST(receiver().poll());
  const auto all = device_.mapping.bytes();
  const auto ring_bytes = all.size();
  all.fill_zero(ring_bytes / 2, ring_bytes / 2);
  EXPECT_TRUE(std::ranges::equal(received->frame, net_frame(60)));
}

// HD-3: there is nothing to write in what is sent.
TEST_F(NetHostileTest, ASentFrameThatWasWritten) {
  open();
  card().held = true;
  const auto frame = net_frame(60);
  MUST(sender().submit({.bytes = frame, .cookie = 1}));
  MUST(sender().submit({.bytes = frame, .cookie = 2}));
  sender().kick();
  auto ring = card().raw(1);
  ring.put_used(0, {.id = ring.available(0), .length = 1});
  ring.set_used_index(1);
  for (int i = 0; i < 2; i++)
    EXPECT_EQ(sender().poll()->error->code, Errc::kBadLength);
  EXPECT_FALSE(sender().poll());
  EXPECT_EQ(sender().submit({.bytes = frame}).error().code, Errc::kBadLength);
  EXPECT_EQ(sender().wait(1s).error().code, Errc::kWrongState);
  card().held = false;
  ASSERT_TRUE(net().reset());
  expect_works();
}

// HD-2: each frame ends once.
TEST_F(NetHostileTest, ASentFrameThatIsReturnedTwice) {
  open();
  card().held = true;
  const auto frame = net_frame(60);
  MUST(sender().submit({.bytes = frame, .cookie = 1}));
  MUST(sender().submit({.bytes = frame, .cookie = 2}));
  sender().kick();
  auto ring = card().raw(1);
  for (std::uint16_t entry = 0; entry < 2; entry++)
    ring.put_used(entry, {.id = ring.available(0), .length = 0});
  ring.set_used_index(2);
  EXPECT_FALSE(sender().poll()->error);
  EXPECT_EQ(sender().poll()->error->code, Errc::kNotOutstanding);
  EXPECT_FALSE(sender().poll());
  card().held = false;
  ASSERT_TRUE(net().reset());
  expect_works();
}

TEST_F(NetHostileTest, AnAnswerThatThereIsNoneOf) {
  open();
  card().ack = 7;
  EXPECT_EQ(net().set_promiscuous(true).error().code, Errc::kMalformed);
  card().ack.reset();
  card().on_return = [](std::uint32_t& written) { written = 0; };
  EXPECT_EQ(net().set_promiscuous(true).error().code, Errc::kBadLength);
  card().on_return = nullptr;
  EXPECT_TRUE(net().set_promiscuous(true));
}

// HD-19: a command that is never answered.
TEST_F(NetHostileTest, ACommandWithoutAnAnswer) {
  open();
  card().held = true;
  EXPECT_EQ(net().set_promiscuous(true).error().code, Errc::kTimeout);
  EXPECT_EQ(net().set_promiscuous(true).error().code, Errc::kTimeout);
  card().held = false;
  ASSERT_TRUE(net().reset());
  EXPECT_TRUE(net().set_promiscuous(true));
  expect_works();
}

// HD-14: fewer queues than it says.
TEST_F(NetHostileTest, PairsThatAreNotThere) {
  card().own_features |= spec::feature(spec::VIRTIO_NET_F_MQ);
  card().config.max_virtqueue_pairs.set(0x8000);
  options_.pairs = 1;
  EXPECT_EQ(try_open().error().code, Errc::kBadIndex);
  options_.pairs = 0xffff;
  EXPECT_FALSE(try_open());
  card().config.max_virtqueue_pairs.set(1);
  options_.pairs = 0xffff;
  open();
  expect_works();
}

// HD-24.
TEST_F(NetHostileTest, ADeviceInNeed) {
  open();
  device_.device().report_violation({.code = Errc::kMalformed, .queue = 0});
  EXPECT_EQ(receiver().wait(1s).error().code, Errc::kNeedsReset);
  ASSERT_TRUE(net().reset());
  expect_works();
}

// HD-25: another card than before.
TEST_F(NetHostileTest, ACardThatChangesInAReset) {
  open();
  card().config.mac[5] = 9;
  EXPECT_EQ(net().reset().error().code, Errc::kMalformed);
  card().config.mac[5] = 1;
  ASSERT_TRUE(net().reset());
  expect_works();
}

// The link's state is all that may change.
TEST_F(NetHostileTest, AConfigurationThatIsGarbageLater) {
  open();
  for (auto& byte : card().config.mac)
    byte = 0xff;
  card().config.mtu.set(1);
  EXPECT_TRUE(MUST(net().status()).link_up);
  expect_works();
}

}  // namespace
}  // namespace airlock::driver
