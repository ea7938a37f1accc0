// SPDX-License-Identifier: Apache-2.0
// A plug that leads back: frames and headers, its bounds, and who is woken.
#include "backend/net/loop_backend.h"

#include <thread>

#include <gtest/gtest.h>

#include "testing/net_bench.h"

namespace airlock::backend {
namespace {

using testing::is_readable;
using testing::make_frame;
using testing::NetBench;

spec::VirtioNetHdr needs_checksum(std::uint16_t start, std::uint16_t offset) {
  spec::VirtioNetHdr header;
  header.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header.csum_start.set(start);
  header.csum_offset.set(offset);
  return header;
}

TEST(LoopBackend, GivesBackWhatWasSentInOrder) {
  NetBench bench;
  const auto loop = make_loop();
  const auto channel = MUST(loop->open_channel());
  EXPECT_TRUE(bench.receive(*channel).empty());
  EXPECT_FALSE(is_readable(channel->receive_fd(), 0));
  for (unsigned i = 1; i <= 3; i++)
    EXPECT_EQ(bench.send(*channel, make_frame(100 * i, i), {}, i), NetSendResult::kSent);
  EXPECT_TRUE(is_readable(channel->receive_fd()));
  for (unsigned i = 1; i <= 3; i++)
    EXPECT_EQ(bench.receive(*channel), make_frame(100 * i, i));
  EXPECT_TRUE(bench.receive(*channel).empty());
  EXPECT_FALSE(is_readable(channel->receive_fd(), 0));
}

TEST(LoopBackend, DropsWhatIsNoFrame) {
  NetBench bench;
  const auto loop = make_loop();
  const auto channel = MUST(loop->open_channel());
  EXPECT_EQ(bench.send(*channel, make_frame(kNetFrameMin - 1)), NetSendResult::kDropped);
  EXPECT_EQ(bench.send(*channel, make_frame(kNetFrameMax + 1)), NetSendResult::kDropped);
  EXPECT_EQ(bench.send(*channel, make_frame(64), needs_checksum(60, 3)), NetSendResult::kDropped);
  EXPECT_EQ(loop->counts().unsent, 3U);
  EXPECT_EQ(bench.send(*channel, make_frame(kNetFrameMin)), NetSendResult::kSent);
  EXPECT_EQ(bench.send(*channel, make_frame(kNetFrameMax)), NetSendResult::kSent);
  EXPECT_EQ(bench.receive(*channel).size(), kNetFrameMin);
  EXPECT_EQ(bench.receive(*channel).size(), kNetFrameMax);
}

TEST(LoopBackend, IsBusyWhenFullAndSaysWhenThereIsRoom) {
  NetBench bench;
  const auto loop = make_loop();
  const auto channel = MUST(loop->open_channel());
  for (std::size_t i = 0; i < kLoopFrames; i++)
    EXPECT_EQ(bench.send(*channel, make_frame(60)), NetSendResult::kSent);
  EXPECT_EQ(bench.send(*channel, make_frame(60)), NetSendResult::kBusy);
  EXPECT_FALSE(is_readable(channel->send_fd(), 0));
  EXPECT_EQ(bench.receive(*channel), make_frame(60));
  EXPECT_TRUE(is_readable(channel->send_fd()));
  EXPECT_EQ(bench.send(*channel, make_frame(60)), NetSendResult::kSent);
  EXPECT_EQ(loop->counts().unsent, 0U);
}

// A card that was reset meanwhile has nothing to send any more.
TEST(LoopBackend, RoomIsNoNewsTwice) {
  NetBench bench;
  const auto loop = make_loop();
  const auto channel = MUST(loop->open_channel());
  for (std::size_t i = 0; i < kLoopFrames; i++)
    EXPECT_EQ(bench.send(*channel, make_frame(60)), NetSendResult::kSent);
  EXPECT_EQ(bench.send(*channel, make_frame(60)), NetSendResult::kBusy);
  EXPECT_EQ(bench.receive(*channel), make_frame(60));
  channel->flush();
  EXPECT_TRUE(is_readable(channel->send_fd())) << "whoever was told to wait does not know yet";
  channel->flush();
  EXPECT_FALSE(is_readable(channel->send_fd(), 0));
}

TEST(LoopBackend, HonoursWhatTheGuestCanTake) {
  NetBench bench;
  const auto loop = make_loop();
  const auto channel = MUST(loop->open_channel());
  const spec::VirtioNetHdr partial = needs_checksum(14, 6);
  const auto frame = make_frame(100);
  spec::VirtioNetHdr segments = partial;
  segments.gso_type = spec::VIRTIO_NET_HDR_GSO_TCPV4;
  segments.gso_size.set(50);
  // None: the checksum is completed, and segments can't be.
  EXPECT_EQ(bench.send(*channel, frame, segments), NetSendResult::kSent);
  EXPECT_EQ(bench.send(*channel, frame, partial), NetSendResult::kSent);
  EXPECT_NE(bench.receive(*channel), frame);
  EXPECT_EQ(bench.header.flags, 0);
  EXPECT_EQ(loop->counts().unsent, 1U);
  // Both.
  ASSERT_TRUE(loop->set_guest_offloads(spec::feature(spec::VIRTIO_NET_F_GUEST_CSUM) |
                                       spec::feature(spec::VIRTIO_NET_F_GUEST_TSO4)));
  EXPECT_EQ(bench.send(*channel, frame, segments), NetSendResult::kSent);
  EXPECT_EQ(bench.receive(*channel), frame);
  EXPECT_EQ(bench.header.gso_type, spec::VIRTIO_NET_HDR_GSO_TCPV4);
  EXPECT_EQ(bench.header.flags, spec::VIRTIO_NET_HDR_F_NEEDS_CSUM);
}

// Nobody sleeps over a frame, or over room, that is there.
TEST(LoopBackend, WakesBothSidesOfAChannel) {
  constexpr unsigned kFrames = 20'000;
  NetBench sender;
  NetBench receiver;
  const auto loop = make_loop();
  const auto channel = MUST(loop->open_channel());
  std::thread sending([&] {
    for (unsigned i = 0; i < kFrames; i++) {
      while (sender.send(*channel, make_frame(60, i)) == NetSendResult::kBusy)
        ASSERT_TRUE(is_readable(channel->send_fd()));
    }
  });
  for (unsigned i = 0; i < kFrames; i++)
    ASSERT_EQ(receiver.await(*channel), make_frame(60, i));
  sending.join();
}

}  // namespace
}  // namespace airlock::backend
