// SPDX-License-Identifier: Apache-2.0
//
// Goal: frames and commands reach an honest network card whole, and come back from it. Method: a
// card in this process, which the test has deliver frames and asks what it was sent.
#include "driver/net.h"

#include <algorithm>
#include <thread>

#include <gtest/gtest.h>

#include "testing/net_fixture.h"

namespace airlock::driver {
namespace {

using namespace std::chrono_literals;
using testing::net_frame;

class NetTest : public testing::NetFixture {};

TEST_F(NetTest, ReadsWhatTheCardIs) {
  open();
  EXPECT_EQ(net().info().mac, (MacAddress{0x52, 0, 0, 0, 0, 1}));
  EXPECT_EQ(net().info().mtu, 1500);
  EXPECT_EQ(net().pair_count(), 1U);
  EXPECT_TRUE(MUST(net().status()).link_up);
  card().config.status.set(spec::VIRTIO_NET_S_ANNOUNCE);
  EXPECT_EQ(MUST(net().status()), (NetStatus{.link_up = false, .announce = true}));
}

TEST_F(NetTest, SendsCopiesAndInPlace) {
  open();
  auto buffer = MUST(net().allocate(2048));
  std::ranges::copy(net_frame(1514, 2), buffer.span().begin());
  MUST(sender().submit({.bytes = net_frame(60, 1), .cookie = 7}));
  MUST(sender().submit({.bytes = buffer.span().first(1514), .cookie = 8}));
  sender().kick();
  EXPECT_EQ(card().sent, (std::vector<Bytes>{net_frame(60, 1), net_frame(1514, 2)}));
  EXPECT_EQ(card().sent_headers[0].flags, 0);
  EXPECT_EQ(card().sent_headers[0].gso_type, spec::VIRTIO_NET_HDR_GSO_NONE);
  EXPECT_EQ(sender().poll()->cookie, 7U);
  EXPECT_EQ(sender().poll()->cookie, 8U);
  EXPECT_FALSE(sender().poll());
  EXPECT_EQ(net().sent().frames, 2U);
  EXPECT_EQ(net().sent().copies, 1U);
}

// VIRTIO 1.3, 5.1.6.2.1: a checksum may be left out where the card completes it, and not elsewhere.
TEST_F(NetTest, LeavesAChecksumToTheCard) {
  open();
  const auto bytes = net_frame(60);
  MUST(sender().submit({.bytes = bytes, .missing_checksum = NetChecksum{34, 16}}));
  sender().kick();
  EXPECT_EQ(card().sent_headers[0].flags, spec::VIRTIO_NET_HDR_F_NEEDS_CSUM);
  EXPECT_EQ(card().sent_headers[0].csum_start.get(), 34);
  EXPECT_EQ(card().sent_headers[0].csum_offset.get(), 16);
  const NetFrame outside{.bytes = bytes, .missing_checksum = NetChecksum{34, 25}};
  EXPECT_EQ(sender().submit(outside).error().code, Errc::kOutOfRange);
}

TEST_F(NetTest, LeavesNoChecksumToACardThatCompletesNone) {
  without(spec::VIRTIO_NET_F_CSUM);
  open();
  const auto bytes = net_frame(60);
  EXPECT_EQ(sender().submit({.bytes = bytes, .missing_checksum = NetChecksum{34, 16}}).error().code,
            Errc::kNotSupportedByDevice);
}

TEST_F(NetTest, RefusesWhatIsNoFrame) {
  open();
  EXPECT_EQ(sender().submit({.bytes = net_frame(13)}).error().code, Errc::kBadLength);
  EXPECT_EQ(sender().submit({.bytes = net_frame(1519)}).error().code, Errc::kTooLarge);
  const auto region = device_.mapping.bytes().in_place().subspan(4096, 60);
  EXPECT_TRUE(sender().submit({.bytes = region}));  // another mapping of it: memory like any
  EXPECT_EQ(sender().inside(), 1U);
}

// VIRTIO 1.3, 5.1.6.4: in as many buffers as it takes.
TEST_F(NetTest, ReceivesFramesOfAnySize) {
  open();
  for (const std::size_t length : {std::size_t{14}, std::size_t{1514}, std::size_t{4084},
                                   std::size_t{4085}, std::size_t{9000}, std::size_t{50'000}}) {
    ASSERT_TRUE(card().deliver(net_frame(length)));
    EXPECT_EQ(take(), net_frame(length));
    EXPECT_TRUE(take().empty());
  }
  ASSERT_TRUE(card().deliver(net_frame(100), {.buffer_bytes_max = 30}));  // in more than it needs
  EXPECT_EQ(take(), net_frame(100));
  EXPECT_EQ(net().received().nonsense, 0U);
}

TEST_F(NetTest, ReceivesInWholeBuffersWhereTheyDoNotMerge) {
  without(spec::VIRTIO_NET_F_MRG_RXBUF);
  card().config.mtu.set(3000);
  open();
  for (int i = 0; i < 100; i++) {
    ASSERT_TRUE(card().deliver(net_frame(3014), {.num_buffers = 77}));  // means nothing here
    EXPECT_EQ(take(), net_frame(3014));
  }
}

TEST_F(NetTest, TellsOfChecksums) {
  open();
  spec::VirtioNetHdr header;
  header.flags = spec::VIRTIO_NET_HDR_F_DATA_VALID;
  ASSERT_TRUE(card().deliver(net_frame(60), {.header = header}));
  EXPECT_TRUE((*MUST(receiver().poll())).checksum_checked);
  header.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header.csum_start.set(34);
  header.csum_offset.set(24);
  ASSERT_TRUE(card().deliver(net_frame(60), {.header = header}));
  const auto received = MUST(receiver().poll());
  EXPECT_EQ(received->missing_checksum, (NetChecksum{34, 24}));
  EXPECT_FALSE(received->checksum_checked);
}

TEST_F(NetTest, GivesCommands) {
  open();
  EXPECT_TRUE(net().set_mac({2, 3, 4, 5, 6, 7}));
  EXPECT_TRUE(net().set_promiscuous(true));
  EXPECT_TRUE(net().acknowledge_announce());
  ASSERT_EQ(card().commands.size(), 3U);
  EXPECT_EQ(card().commands[0].header.command, spec::VIRTIO_NET_CTRL_MAC_ADDR_SET);
  EXPECT_EQ(card().commands[0].data.size(), 6U);
  EXPECT_EQ(card().commands[1].data, Bytes{std::byte{1}});
  EXPECT_TRUE(card().commands[2].data.empty());
  EXPECT_EQ(net().use_pairs(1).error().code, Errc::kUnsupported);
  card().ack = spec::VIRTIO_NET_ERR;
  EXPECT_EQ(net().set_promiscuous(false).error().code, Errc::kNotSupportedByDevice);
  expect_works();
}

TEST_F(NetTest, UsesSeveralPairs) {
  card().own_features |= spec::feature(spec::VIRTIO_NET_F_MQ);
  card().config.max_virtqueue_pairs.set(3);
  card().queue_sizes = {16, 16, 16, 16, 16, 16, 16};
  options_.pairs = 2;
  open();
  EXPECT_EQ(net().pair_count(), 2U);
  EXPECT_TRUE(net().use_pairs(2));
  EXPECT_EQ(net().use_pairs(3).error().code, Errc::kBadIndex);
  const auto frame = net_frame(60);
  MUST(net().sender(1).submit({.bytes = frame}));
  net().sender(1).kick();
  EXPECT_EQ(card().sent, (std::vector<Bytes>{frame}));
  expect_works();
}

TEST_F(NetTest, WorksWithoutAControlQueue) {
  card().own_features = 0;
  card().queue_sizes = {16, 16};
  open();
  EXPECT_FALSE(net().info().mac);
  EXPECT_EQ(net().set_promiscuous(true).error().code, Errc::kUnsupported);
  expect_works();
}

// Each frame comes back once, whatever is full.
TEST_F(NetTest, WaitsForRoom) {
  open();
  card().held = true;
  std::size_t submitted = 0;
  const auto frame = net_frame(1000);
  while (sender().submit({.bytes = frame}))
    ++submitted;
  EXPECT_EQ(sender().submit({.bytes = frame}).error().code, Errc::kQueueFull);
  EXPECT_GE(submitted, 8U);
  EXPECT_EQ(net().send(frame).error().code, Errc::kTimeout);
  card().held = false;
  card().serve();
  EXPECT_TRUE(net().send(frame));
  EXPECT_EQ(card().sent.size(), submitted + 1);
}

TEST_F(NetTest, SleepsUntilAFrameComes) {
  options_.spin = 0us;
  open();
  EXPECT_EQ(receiver().wait(5ms).error().code, Errc::kTimeout);
  std::thread network([this] {
    while (receiver().counters().sleeps.get() < 2)
      std::this_thread::yield();
    EXPECT_TRUE(card().deliver(net_frame(60)));
  });
  EXPECT_TRUE(receiver().wait(10s));
  network.join();
  EXPECT_EQ(take(), net_frame(60));
  EXPECT_GE(receiver().counters().interrupts.get(), 1U);
}

TEST_F(NetTest, WaitsWithoutInterruptsToo) {
  interrupts_ = false;
  open();
  card().loops = true;
  EXPECT_EQ(receiver().interrupt_fd(), -1);
  EXPECT_EQ(receiver().wait(2ms).error().code, Errc::kTimeout);
  EXPECT_TRUE(net().send(net_frame(60)));
  EXPECT_TRUE(receiver().wait(1s));
  EXPECT_EQ(take(), net_frame(60));
}

// DMB-DR6, HD-23: what was inside ends, nothing of the pool is lost, and the card works again.
TEST_F(NetTest, IsResetWithFramesInside) {
  open();
  const std::uint64_t used = net().device().pool().stats().used;
  card().held = true;
  const auto frame = net_frame(60);
  auto buffer = MUST(net().allocate(2048));
  for (int i = 0; i < 3; i++)
    MUST(sender().submit({.bytes = frame}));
  MUST(sender().submit({.bytes = buffer.span().first(60)}));
  sender().kick();
  ASSERT_TRUE(card().deliver(frame));
  ASSERT_TRUE(net().reset());
  for (int i = 0; i < 4; i++)
    EXPECT_EQ(sender().poll()->error->code, Errc::kQueueBroken);
  EXPECT_FALSE(sender().poll());
  buffer.reset();
  EXPECT_EQ(net().device().pool().stats().used, used);
  card().held = false;
  expect_works();
}

}  // namespace
}  // namespace airlock::driver
