// SPDX-License-Identifier: Apache-2.0
// Frames of a driver that writes its ring by hand, into a scripted network.
#include "device/net/net_transmit_queue.h"

#include <gtest/gtest.h>

#include <cstring>

#include "testing/net_rig.h"

namespace airlock::device {
namespace {

using backend::NetSendResult;
using testing::BuiltChain;
using testing::ChainBuilder;
using testing::frame_to;
using testing::NetRig;

constexpr MacAddress kFar = {2, 0, 0, 0, 0, 9};

class NetTransmitQueueTest : public ::testing::Test {
 protected:
  [[nodiscard]] const std::vector<testing::FakeFrame>& sent() { return rig_.channel().sent; }
  /// It is used, and nothing was written to it.
  void expect_returned(const BuiltChain& chain) {
    const auto used = rig_.ring(1).take_used();
    ASSERT_TRUE(used.has_value());
    EXPECT_EQ(used->id, chain.head());
    EXPECT_EQ(used->length, 0U);
  }
  void expect_refused(std::span<const std::byte> frame, const spec::VirtioNetHdr& header = {}) {
    const std::uint64_t before = rig_.device().counts(1).refused;
    const BuiltChain chain = rig_.send(frame, header);
    ASSERT_TRUE(rig_.run(1));
    expect_returned(chain);
    EXPECT_TRUE(sent().empty());
    EXPECT_EQ(rig_.device().counts(1).refused, before + 1);
  }

  NetRig rig_;
};

TEST_F(NetTransmitQueueTest, Sends) {
  rig_.start();
  const BuiltChain chain = rig_.send(frame_to(kFar, 100));
  ASSERT_TRUE(rig_.run(1));
  ASSERT_EQ(sent().size(), 1U);
  EXPECT_EQ(sent()[0].bytes, frame_to(kFar, 100));
  EXPECT_EQ(sent()[0].header.flags, 0);
  EXPECT_EQ(rig_.channel().pieces, 1U);
  EXPECT_GT(rig_.channel().flushes, 0U);
  expect_returned(chain);
  EXPECT_EQ(rig_.interrupts[1], 1U);
  EXPECT_EQ(rig_.device().counts(1), (NetCounts{.sent = 1, .sent_bytes = 100}));
}

// VIRTIO 1.3, 2.7.4: the header and the frame however they are cut, without a copy of ours.
TEST_F(NetTransmitQueueTest, FramingMeansNothing) {
  rig_.start();
  const std::vector<std::byte> frame = frame_to(kFar, 100);
  const spec::VirtioNetHdr header{};
  std::vector<std::byte> all(sizeof(header) + frame.size());
  std::memcpy(all.data() + sizeof(header), frame.data(), frame.size());
  ChainBuilder builder(rig_.ring(1));
  for (const std::size_t cut : {5U, 20U, 1U, 86U}) {
    builder.readable(std::span(all).first(cut));
    all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(cut));
  }
  ASSERT_TRUE(all.empty());
  builder.submit();
  ASSERT_TRUE(rig_.run(1));
  ASSERT_EQ(sent().size(), 1U);
  EXPECT_EQ(sent()[0].bytes, frame);
  EXPECT_EQ(rig_.channel().pieces, 3U);
}

// VIRTIO 1.3, 5.1.6.2: offloads that were negotiated are passed on, with nothing beside them.
TEST_F(NetTransmitQueueTest, PassesOffloadsOn) {
  rig_.start();
  rig_.send(frame_to(kFar, 3000), testing::net_header({.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM |
                                                                spec::VIRTIO_NET_HDR_F_DATA_VALID,
                                                       .gso_type = spec::VIRTIO_NET_HDR_GSO_TCPV4,
                                                       .hdr_len = 0xffff,
                                                       .gso_size = 1448,
                                                       .csum_start = 34,
                                                       .csum_offset = 16,
                                                       .num_buffers = 7}));
  ASSERT_TRUE(rig_.run(1));
  ASSERT_EQ(sent().size(), 1U);
  const spec::VirtioNetHdr& header = sent()[0].header;
  EXPECT_EQ(header.flags, spec::VIRTIO_NET_HDR_F_NEEDS_CSUM);
  EXPECT_EQ(header.gso_type, spec::VIRTIO_NET_HDR_GSO_TCPV4);
  EXPECT_EQ(header.hdr_len.get(), 3000);
  EXPECT_EQ(header.gso_size.get(), 1448);
  EXPECT_EQ(header.csum_start.get(), 34);
  EXPECT_EQ(header.num_buffers.get(), 0);
}

// ATK-14; VIRTIO 1.3, 5.1.6.2.1.
TEST_F(NetTransmitQueueTest, RefusesWhatWasNotNegotiated) {
  rig_.start(spec::feature(spec::VIRTIO_NET_F_MAC));
  expect_refused(
      frame_to(kFar, 100),
      testing::net_header(
          {.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16}));
}

// ATK-3: a checksum outside of the frame. The frame is lost, the queue is not: whoever has a raw
// socket in the guest may have made it.
TEST_F(NetTransmitQueueTest, RefusesAChecksumOutsideOfTheFrame) {
  rig_.start();
  expect_refused(
      frame_to(kFar, 100),
      testing::net_header(
          {.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 90, .csum_offset = 9}));
  rig_.send(frame_to(kFar, 60));
  ASSERT_TRUE(rig_.run(1));
  EXPECT_EQ(sent().size(), 1U);
}

// ATK-3: as long as a frame may be, either way.
TEST_F(NetTransmitQueueTest, RefusesFramesOfImpossibleLengths) {
  rig_.start();
  expect_refused(frame_to(kFar, backend::kNetFrameMin - 1));
  expect_refused(frame_to(kFar, backend::kNetFrameMax + 1));
  const BuiltChain empty =
      ChainBuilder(rig_.ring(1)).readable_struct(spec::VirtioNetHdr{}).submit();
  ASSERT_TRUE(rig_.run(1));
  expect_returned(empty);
  EXPECT_TRUE(sent().empty());
  rig_.send(frame_to(kFar, backend::kNetFrameMin));
  rig_.send(frame_to(kFar, backend::kNetFrameMax));
  ASSERT_TRUE(rig_.run(1));
  ASSERT_EQ(sent().size(), 2U);
  EXPECT_EQ(sent()[1].bytes.size(), backend::kNetFrameMax);
}

// ATK-3, ATK-5: a driver without a header is broken.
TEST_F(NetTransmitQueueTest, AChainWithoutAHeaderBreaksTheQueue) {
  rig_.start();
  const BuiltChain good = rig_.send(frame_to(kFar, 60));
  ChainBuilder(rig_.ring(1)).readable("11 bytes...").writable(100).submit();
  rig_.send(frame_to(kFar, 60));
  const auto broken = rig_.run(1);
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().code, Errc::kTooSmall);
  EXPECT_EQ(broken.error().queue, 1);
  EXPECT_EQ(sent().size(), 1U);
  expect_returned(good);
  EXPECT_FALSE(rig_.ring(1).take_used().has_value());
  EXPECT_EQ(rig_.task(1).poll().error().code, Errc::kQueueBroken);
  rig_.task(1).drain(true);
  EXPECT_EQ(rig_.task(1).in_flight(), 0U);
}

// A peer that does not read: the frame waits, and what is behind it too; nobody is asked to notify.
TEST_F(NetTransmitQueueTest, AFrameWaitsForRoom) {
  rig_.start();
  rig_.network().send_result = NetSendResult::kBusy;
  const BuiltChain first = rig_.send(frame_to(kFar, 60, 1));
  const BuiltChain second = rig_.send(frame_to(kFar, 60, 2));
  ASSERT_TRUE(rig_.run(1));
  EXPECT_EQ(rig_.task(1).in_flight(), 1U);
  EXPECT_EQ(rig_.task(1).completion_fd(), rig_.channel().send_event.fd());
  EXPECT_EQ(rig_.device().counts(1).waits, 1U);
  rig_.task(1).want_notifications(true);
  EXPECT_EQ(rig_.ring(1).used_flags(), spec::VIRTQ_USED_F_NO_NOTIFY);
  EXPECT_FALSE(MUST(rig_.task(1).poll()));
  EXPECT_EQ(rig_.device().counts(1).waits, 1U);
  rig_.network().send_result = NetSendResult::kSent;
  ASSERT_TRUE(rig_.run(1));
  expect_returned(first);
  expect_returned(second);
  ASSERT_EQ(sent().size(), 2U);
  EXPECT_EQ(sent()[0].bytes, frame_to(kFar, 60, 1));
  rig_.task(1).want_notifications(true);
  EXPECT_EQ(rig_.ring(1).used_flags(), 0);
}

// ATK-11: the header was read once: what the driver makes of it while the frame waits is nothing.
TEST_F(NetTransmitQueueTest, AHeaderThatChangesMeanwhileChangesNothing) {
  rig_.start();
  rig_.network().send_result = NetSendResult::kBusy;
  const BuiltChain chain = rig_.send(frame_to(kFar, 60));
  ASSERT_TRUE(rig_.run(1));
  const spec::VirtioNetHdr lie = testing::net_header(
      {.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 0xffff, .csum_offset = 0xffff});
  MUST(rig_.ring(1).region().bytes().slice(std::to_underlying(chain.pieces()[0].offset), 12))
  .put(0, lie);
  rig_.network().send_result = NetSendResult::kSent;
  ASSERT_TRUE(rig_.run(1));
  ASSERT_EQ(sent().size(), 1U);
  EXPECT_EQ(sent()[0].header.flags, 0);
  EXPECT_EQ(sent()[0].header.csum_start.get(), 0);
}

TEST_F(NetTransmitQueueTest, CountsWhatTheBackendDrops) {
  rig_.start();
  rig_.network().send_result = NetSendResult::kDropped;
  const BuiltChain chain = rig_.send(frame_to(kFar, 60));
  ASSERT_TRUE(rig_.run(1));
  expect_returned(chain);
  EXPECT_EQ(rig_.device().counts(1), (NetCounts{.unsent = 1}));
}

// ATK-10: a peer that does not read keeps nobody from coming to rest.
TEST_F(NetTransmitQueueTest, GoesToRestThoughAFrameWaits) {
  rig_.start();
  rig_.network().send_result = NetSendResult::kBusy;
  const BuiltChain chain = rig_.send(frame_to(kFar, 60));
  ASSERT_TRUE(rig_.run(1));
  rig_.task(1).drain(false);
  EXPECT_EQ(rig_.task(1).in_flight(), 0U);
  expect_returned(chain);
  EXPECT_EQ(rig_.device().counts(1).unsent, 1U);
  ASSERT_TRUE(rig_.task(1).rebind());
  rig_.network().send_result = NetSendResult::kSent;
  rig_.send(frame_to(kFar, 61));
  ASSERT_TRUE(rig_.run(1));
  EXPECT_EQ(sent().size(), 1U);
}

// ATK-10: after a reset nothing is sent, and nothing written to the ring.
TEST_F(NetTransmitQueueTest, LeavesTheRingAloneAfterAReset) {
  rig_.start();
  rig_.network().send_result = NetSendResult::kBusy;
  rig_.send(frame_to(kFar, 60));
  ASSERT_TRUE(rig_.run(1));
  rig_.task(1).drain(true);
  EXPECT_EQ(rig_.task(1).in_flight(), 0U);
  rig_.network().send_result = NetSendResult::kSent;
  EXPECT_EQ(rig_.task(1).poll().error().code, Errc::kQueueBroken);
  EXPECT_EQ(rig_.task(1).rebind().error().code, Errc::kQueueBroken);
  EXPECT_TRUE(sent().empty());
  EXPECT_FALSE(rig_.ring(1).take_used().has_value());
}

// A peer that does not read does not keep frames from arriving.
TEST_F(NetTransmitQueueTest, ReceivingDoesNotWaitForSending) {
  rig_.start();
  rig_.network().send_result = NetSendResult::kBusy;
  rig_.send(frame_to(kFar, 60));
  ASSERT_TRUE(rig_.run(1));
  rig_.give_buffer(2048);
  rig_.network().arrive(0, {.header = {}, .bytes = frame_to(NetRig::kMac, 60)});
  ASSERT_TRUE(rig_.run(0));
  EXPECT_EQ(rig_.device().counts(0).received, 1U);
}

}  // namespace
}  // namespace airlock::device
