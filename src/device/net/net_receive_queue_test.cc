// SPDX-License-Identifier: Apache-2.0
// Frames from a scripted network into buffers of a driver that writes its ring by hand.
#include "device/net/net_receive_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "testing/net_rig.h"

namespace airlock::device {
namespace {

using testing::BuiltChain;
using testing::ChainBuilder;
using testing::frame_to;
using testing::NetRig;

constexpr MacAddress kStranger = {2, 0, 0, 0, 0, 9};
constexpr std::uint32_t kHeader = sizeof(spec::VirtioNetHdr);

struct Got {
  spec::VirtioNetHdr header;
  std::vector<std::byte> frame;
};

class NetReceiveQueueTest : public ::testing::Test {
 protected:
  void arrive(std::vector<std::byte> frame, const spec::VirtioNetHdr& header = {}) {
    rig_.network().arrive(0, {.header = header, .bytes = std::move(frame)});
  }
  /// What one used buffer of `buffers` holds, whose used length is exact.
  Got take(const BuiltChain& buffer) {
    const auto used = rig_.ring(0).take_used();
    EXPECT_TRUE(used.has_value());
    if (!used) return {};
    EXPECT_EQ(used->id, buffer.head());
    std::vector<std::byte> bytes = buffer.written();
    EXPECT_LE(used->length, bytes.size());
    EXPECT_GE(used->length, kHeader);
    bytes.resize(used->length);
    Got got;
    std::memcpy(&got.header, bytes.data(), kHeader);
    got.frame.assign(bytes.begin() + kHeader, bytes.end());
    return got;
  }
  void expect_nothing_used() { EXPECT_FALSE(rig_.ring(0).take_used().has_value()); }
  /// The frame does not reach the driver, and the one behind it does.
  void expect_dropped(std::vector<std::byte> frame, const spec::VirtioNetHdr& header = {}) {
    const BuiltChain buffer = rig_.give_buffer(4096);
    arrive(std::move(frame), header);
    arrive(frame_to(NetRig::kMac, 60, 42));
    ASSERT_TRUE(rig_.run(0));
    EXPECT_EQ(take(buffer).frame, frame_to(NetRig::kMac, 60, 42));
    expect_nothing_used();
  }

  NetRig rig_;
};

// VIRTIO 1.3, 5.1.6, 5.1.6.4.1: the header, with num_buffers, and behind it what arrived, no more.
TEST_F(NetReceiveQueueTest, Receives) {
  rig_.start();
  const BuiltChain buffer = rig_.give_buffer(2048);
  arrive(frame_to(NetRig::kMac, 100));
  ASSERT_TRUE(rig_.run(0));
  const Got got = take(buffer);
  EXPECT_EQ(got.frame, frame_to(NetRig::kMac, 100));
  EXPECT_EQ(got.header.num_buffers.get(), 1);
  EXPECT_EQ(got.header.flags, 0);
  EXPECT_EQ(got.header.gso_type, spec::VIRTIO_NET_HDR_GSO_NONE);
  EXPECT_EQ(buffer.written()[kHeader + 100], std::byte{0});
  EXPECT_EQ(rig_.interrupts[0], 1U);
  EXPECT_EQ(rig_.device().counts(0), (NetCounts{.received = 1, .received_bytes = 100}));
}

// VIRTIO 1.3, 2.7.4: however the buffer was cut, in the middle of the header too.
TEST_F(NetReceiveQueueTest, FramingMeansNothing) {
  rig_.start();
  const BuiltChain buffer =
      ChainBuilder(rig_.ring(0)).writable(5).writable(20).writable(1).writable(500).submit();
  arrive(frame_to(NetRig::kMac, 77));
  ASSERT_TRUE(rig_.run(0));
  EXPECT_EQ(take(buffer).frame, frame_to(NetRig::kMac, 77));
}

// VIRTIO 1.3, 5.1.6.3.2, 5.1.6.4.1: into several buffers, of which all but the last are filled up,
// and all of them are shown together.
TEST_F(NetReceiveQueueTest, MergesBuffers) {
  rig_.start();
  const BuiltChain first = rig_.give_buffer(112);
  const BuiltChain second = rig_.give_buffer(300);
  arrive(frame_to(NetRig::kMac, 1000));
  ASSERT_TRUE(rig_.run(0));
  expect_nothing_used();
  EXPECT_EQ(rig_.interrupts[0], 0U);
  const BuiltChain third = rig_.give_buffer(2000);
  ASSERT_TRUE(rig_.run(0));
  Got got = take(first);
  EXPECT_EQ(got.header.num_buffers.get(), 3);
  EXPECT_EQ(got.frame.size(), 100U);
  std::vector<std::byte> rest = second.written();
  got.frame.insert(got.frame.end(), rest.begin(), rest.end());
  EXPECT_EQ(rig_.ring(0).take_used()->length, 300U);
  const auto used = rig_.ring(0).take_used();
  ASSERT_TRUE(used);
  EXPECT_EQ(used->length, 600U);
  rest = third.written();
  got.frame.insert(got.frame.end(), rest.begin(), rest.begin() + 600);
  EXPECT_EQ(got.frame, frame_to(NetRig::kMac, 1000));
  EXPECT_EQ(rig_.device().counts(0).waits, 1U);
}

// VIRTIO 1.3, 5.1.6.3.2: a driver that doesn't merge gets one buffer a frame, or no frame.
TEST_F(NetReceiveQueueTest, WithoutMergingAFrameFitsOneBufferOrIsDropped) {
  rig_.start_without(spec::VIRTIO_NET_F_MRG_RXBUF);
  const BuiltChain small = rig_.give_buffer(112);
  const BuiltChain large = rig_.give_buffer(2000);
  arrive(frame_to(NetRig::kMac, 101));
  arrive(frame_to(NetRig::kMac, 100));
  arrive(frame_to(NetRig::kMac, 500));
  ASSERT_TRUE(rig_.run(0));
  const Got got = take(small);
  EXPECT_EQ(got.frame, frame_to(NetRig::kMac, 100));
  EXPECT_EQ(got.header.num_buffers.get(), 1);
  EXPECT_EQ(take(large).frame, frame_to(NetRig::kMac, 500));
  EXPECT_EQ(rig_.device().counts(0).unfit, 1U);
}

// ATK-12: a frame that all of the ring's buffers together don't hold is dropped; the buffers serve
// those behind it.
TEST_F(NetReceiveQueueTest, AFrameThatNothingHoldsIsDropped) {
  rig_.start();
  std::vector<BuiltChain> buffers;
  for (int i = 0; i < NetRig::kSlots; ++i)
    buffers.push_back(rig_.give_buffer(20));
  arrive(frame_to(NetRig::kMac, 1000));
  arrive(frame_to(NetRig::kMac, 40));
  ASSERT_TRUE(rig_.run(0));
  const auto used = rig_.ring(0).take_used();
  ASSERT_TRUE(used);
  EXPECT_EQ(used->id, buffers[0].head());
  EXPECT_EQ(rig_.ring(0).used_index(), 3);  // 12 + 40 bytes
  EXPECT_EQ(rig_.device().counts(0).unfit, 1U);
  EXPECT_EQ(rig_.device().counts(0).received, 1U);
  arrive(frame_to(NetRig::kMac, 40, 5));
  ASSERT_TRUE(rig_.run(0));
  EXPECT_EQ(rig_.ring(0).used_index(), 6);
  EXPECT_EQ(rig_.ring(0).used_element(3).id, buffers[3].head());
}

// ATK-5, ATK-3; VIRTIO 1.3, 5.1.6.3.1: a buffer holds a header at least.
TEST_F(NetReceiveQueueTest, ABufferWithoutRoomForAHeaderBreaksTheQueue) {
  rig_.start();
  ChainBuilder(rig_.ring(0)).readable("not for you").writable(11).submit();
  arrive(frame_to(NetRig::kMac, 60));
  const auto broken = rig_.run(0);
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().code, Errc::kTooSmall);
  EXPECT_EQ(broken.error().queue, 0);
  EXPECT_EQ(rig_.task(0).poll().error().code, Errc::kQueueBroken);
  EXPECT_EQ(rig_.task(0).rebind().error().code, Errc::kQueueBroken);
  rig_.task(0).drain(true);
  EXPECT_EQ(rig_.task(0).in_flight(), 0U);
}

// VIRTIO 1.3, 5.1.6.3, 5.1.6.3.1.
TEST_F(NetReceiveQueueTest, ABufferThatJustHoldsTheHeaderIsGood) {
  rig_.start();
  rig_.give_buffer(12);
  const BuiltChain second = rig_.give_buffer(60);
  arrive(frame_to(NetRig::kMac, 60));
  ASSERT_TRUE(rig_.run(0));
  EXPECT_EQ(rig_.ring(0).take_used()->length, 12U);
  EXPECT_EQ(rig_.ring(0).take_used()->length, 60U);
  EXPECT_EQ(second.written(), frame_to(NetRig::kMac, 60));
}

// What can't be delivered waits here once; all else waits in the channel, which nobody asks.
TEST_F(NetReceiveQueueTest, WithoutBuffersTheChannelIsLeftAlone) {
  rig_.start();
  arrive(frame_to(NetRig::kMac, 60, 1));
  arrive(frame_to(NetRig::kMac, 60, 2));
  ASSERT_TRUE(rig_.run(0));
  EXPECT_EQ(rig_.channel().arriving.size(), 1U);
  EXPECT_EQ(rig_.task(0).completion_fd(), -1);
  EXPECT_EQ(rig_.task(0).in_flight(), 0U);
  const unsigned receives = rig_.channel().receives;
  EXPECT_FALSE(MUST(rig_.task(0).poll()));
  EXPECT_EQ(rig_.channel().receives, receives);
  const BuiltChain buffer = rig_.give_buffer(2048);
  ASSERT_TRUE(rig_.run(0));
  EXPECT_EQ(take(buffer).frame, frame_to(NetRig::kMac, 60, 1));
  const BuiltChain next = rig_.give_buffer(2048);
  ASSERT_TRUE(rig_.run(0));
  EXPECT_EQ(take(next).frame, frame_to(NetRig::kMac, 60, 2));
  EXPECT_EQ(rig_.task(0).completion_fd(), rig_.channel().receive_event.fd());
}

// A driver is asked to notify only while a frame waits for its buffers.
TEST_F(NetReceiveQueueTest, AsksForNotificationsOnlyWithAFrameInHand) {
  rig_.start();
  rig_.task(0).want_notifications(true);
  EXPECT_EQ(rig_.ring(0).used_flags(), spec::VIRTQ_USED_F_NO_NOTIFY);
  arrive(frame_to(NetRig::kMac, 60));
  ASSERT_TRUE(rig_.run(0));
  rig_.task(0).want_notifications(true);
  EXPECT_EQ(rig_.ring(0).used_flags(), 0);
  rig_.task(0).want_notifications(false);
  EXPECT_EQ(rig_.ring(0).used_flags(), spec::VIRTQ_USED_F_NO_NOTIFY);
}

TEST_F(NetReceiveQueueTest, DropsWhatTheDriverDoesNotWant) {
  rig_.start();
  expect_dropped(frame_to(kStranger, 60));
  EXPECT_EQ(rig_.device().counts(0).filtered, 1U);
}

// VIRTIO 1.3, 5.1.4.1: nothing above the MTU that was agreed upon, a VLAN tag aside.
TEST(NetReceiveQueueMtu, HoldsBackWhatExceedsIt) {
  NetRig rig({.mtu = 1000});
  rig.start_without(spec::VIRTIO_NET_F_CTRL_VLAN);
  auto tagged = frame_to(NetRig::kMac, 1018);
  tagged[12] = std::byte{0x81};
  tagged[13] = std::byte{0};
  auto too_long = tagged;
  too_long.push_back(std::byte{1});
  for (const auto& frame :
       {frame_to(NetRig::kMac, 1014), tagged, frame_to(NetRig::kMac, 1015), too_long}) {
    rig.give_buffer(2048);
    rig.network().arrive(0, {.header = {}, .bytes = frame});
  }
  ASSERT_TRUE(rig.run(0));
  EXPECT_EQ(rig.device().counts(0).received, 2U);
  EXPECT_EQ(rig.device().counts(0).unfit, 2U);
}

// VIRTIO 1.3, 5.1.4.1: what is to be cut up may be longer.
TEST(NetReceiveQueueMtu, DoesNotConcernWhatIsCutUp) {
  NetRig rig({.mtu = 1000});
  rig.start();
  rig.give_buffer(4096);
  const spec::VirtioNetHdr header = testing::net_header({.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                                         .gso_type = spec::VIRTIO_NET_HDR_GSO_TCPV4,
                                                         .gso_size = 900,
                                                         .csum_start = 34,
                                                         .csum_offset = 16});
  rig.network().arrive(0, {.header = header, .bytes = frame_to(NetRig::kMac, 3000)});
  ASSERT_TRUE(rig.run(0));
  EXPECT_EQ(rig.device().counts(0).received, 1U);
}

TEST(NetReceiveQueueMtu, DoesNotConcernADriverThatDidNotAgree) {
  NetRig rig({.mtu = 1000});
  rig.start_without(spec::VIRTIO_NET_F_MTU);
  rig.give_buffer(2048);
  rig.network().arrive(0, {.header = {}, .bytes = frame_to(NetRig::kMac, 1400)});
  ASSERT_TRUE(rig.run(0));
  EXPECT_EQ(rig.device().counts(0).received, 1U);
}

// VIRTIO 1.3, 5.1.6.4.1: offloads that were negotiated come through.
TEST_F(NetReceiveQueueTest, PassesOffloadsOn) {
  rig_.start();
  const spec::VirtioNetHdr header = testing::net_header({.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                                         .gso_type = spec::VIRTIO_NET_HDR_GSO_TCPV6,
                                                         .hdr_len = 74,
                                                         .gso_size = 1400,
                                                         .csum_start = 54,
                                                         .csum_offset = 16});
  const BuiltChain buffer = rig_.give_buffer(8192);
  arrive(frame_to(NetRig::kMac, 5000), header);
  ASSERT_TRUE(rig_.run(0));
  const Got got = take(buffer);
  EXPECT_EQ(got.header.flags, spec::VIRTIO_NET_HDR_F_NEEDS_CSUM);
  EXPECT_EQ(got.header.gso_type, spec::VIRTIO_NET_HDR_GSO_TCPV6);
  EXPECT_EQ(got.header.gso_size.get(), 1400);
  EXPECT_EQ(got.header.csum_start.get(), 54);
  EXPECT_EQ(got.frame, frame_to(NetRig::kMac, 5000));
}

// VIRTIO 1.3, 5.1.6.4.1: without GUEST_CSUM, flags are zero and the checksum is there.
TEST_F(NetReceiveQueueTest, CompletesAChecksumThatTheDriverWouldNot) {
  rig_.start(spec::feature(spec::VIRTIO_NET_F_MAC));
  const spec::VirtioNetHdr header = testing::net_header(
      {.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16});
  std::vector<std::byte> frame = frame_to(NetRig::kMac, 60);
  std::fill(frame.begin() + 34, frame.end(), std::byte{0});
  frame[59] = std::byte{1};
  const BuiltChain buffer = rig_.give_buffer(2048);
  arrive(frame, header);
  ASSERT_TRUE(rig_.run(0));
  const Got got = take(buffer);
  EXPECT_EQ(got.header.flags, 0);
  EXPECT_EQ(got.frame[50], std::byte{0xff});
  EXPECT_EQ(got.frame[51], std::byte{0xfe});
}

// VIRTIO 1.3, 5.1.6.4.1: no segmentation that was not negotiated, whatever a backend gives.
TEST_F(NetReceiveQueueTest, DropsWhatTheDriverWouldNotCutUp) {
  rig_.start_without(spec::VIRTIO_NET_F_GUEST_TSO4);
  expect_dropped(frame_to(NetRig::kMac, 3000),
                 testing::net_header({.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                      .gso_type = spec::VIRTIO_NET_HDR_GSO_TCPV4,
                                      .gso_size = 1400,
                                      .csum_start = 34,
                                      .csum_offset = 16}));
  EXPECT_EQ(rig_.device().counts(0).unfit, 1U);
}

TEST_F(NetReceiveQueueTest, AChannelThatFailedIsLeftAlone) {
  rig_.start();
  rig_.give_buffer(2048);
  rig_.network().receive_error = system_error(EIO);
  EXPECT_FALSE(MUST(rig_.task(0).poll()));
  EXPECT_EQ(rig_.task(0).completion_fd(), -1);
  const unsigned receives = rig_.channel().receives;
  EXPECT_FALSE(MUST(rig_.task(0).poll()));
  EXPECT_EQ(rig_.channel().receives, receives);
}

// However often a driver begins anew, the log says no more than a little of it.
TEST_F(NetReceiveQueueTest, AChannelThatFailedDoesNotFillTheLog) {
  rig_.network().receive_error = system_error(EIO);
  ::testing::internal::CaptureStderr();
  constexpr int kStarts = 200;
  for (int i = 0; i < kStarts; ++i) {
    rig_.start();
    EXPECT_FALSE(MUST(rig_.task(0).poll()));
    rig_.stop();
  }
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("no frames for queue 0"), std::string::npos);
  EXPECT_LT(std::ranges::count(said, '\n'), kStarts / 2);
}

// ATK-10: at rest no buffer is held, and the frame in hand is not lost.
TEST_F(NetReceiveQueueTest, GoesToRestAndOn) {
  rig_.start();
  const BuiltChain small = rig_.give_buffer(50);
  arrive(frame_to(NetRig::kMac, 100));
  ASSERT_TRUE(rig_.run(0));
  EXPECT_EQ(rig_.task(0).in_flight(), 1U);
  rig_.task(0).drain(false);
  EXPECT_EQ(rig_.task(0).in_flight(), 0U);
  EXPECT_EQ(rig_.ring(0).take_used()->length, 0U);
  ASSERT_TRUE(rig_.task(0).rebind());
  const BuiltChain buffer = rig_.give_buffer(200);
  ASSERT_TRUE(rig_.run(0));
  EXPECT_EQ(take(buffer).frame, frame_to(NetRig::kMac, 100));
}

// ATK-10: after a reset nothing more is written to the ring.
TEST_F(NetReceiveQueueTest, LeavesTheRingAloneAfterAReset) {
  rig_.start();
  rig_.give_buffer(50);
  arrive(frame_to(NetRig::kMac, 100));
  ASSERT_TRUE(rig_.run(0));
  rig_.task(0).drain(true);
  EXPECT_EQ(rig_.task(0).in_flight(), 0U);
  rig_.give_buffer(2048);
  EXPECT_EQ(rig_.task(0).poll().error().code, Errc::kQueueBroken);
  expect_nothing_used();
}

// VIRTIO 1.3, 5.1.6.5.6.2: nothing for queues that are not in use, until they are.
TEST(NetReceiveQueuePairs, AQueueThatIsNotInUseGetsNothing) {
  NetRig rig({.pairs = 2});
  rig.start();
  rig.give_buffer(2048, 2);
  rig.network().arrive(1, {.header = {}, .bytes = frame_to(NetRig::kMac, 60)});
  ASSERT_TRUE(rig.run(2));
  EXPECT_EQ(rig.device().counts(2).received, 0U);
  const int waits_for = rig.task(2).completion_fd();
  EXPECT_NE(waits_for, rig.channel(1).receive_event.fd());
  EXPECT_EQ(rig.ack_of(spec::VIRTIO_NET_CTRL_MQ, spec::VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, Le16(2)),
            spec::VIRTIO_NET_OK);
  EXPECT_EQ(rig.network().channels_in_use, 2);
  ASSERT_TRUE(rig.run(2));
  EXPECT_EQ(rig.device().counts(2).received, 1U);
  EXPECT_EQ(rig.task(2).completion_fd(), rig.channel(1).receive_event.fd());
  // And back.
  EXPECT_EQ(rig.ack_of(spec::VIRTIO_NET_CTRL_MQ, spec::VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, Le16(1)),
            spec::VIRTIO_NET_OK);
  rig.network().arrive(1, {.header = {}, .bytes = frame_to(NetRig::kMac, 60)});
  ASSERT_TRUE(rig.run(2));
  EXPECT_EQ(rig.device().counts(2).received, 1U);
  EXPECT_EQ(rig.task(2).completion_fd(), waits_for);
}

}  // namespace
}  // namespace airlock::device
