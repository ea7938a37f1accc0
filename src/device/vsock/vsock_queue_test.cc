// SPDX-License-Identifier: Apache-2.0
// Goal: each packet of a guest has the effect that the specification says, and a lie ends the one
// connection that it was told on. Method: rings written by hand, and sockets as the host has them.
#include "device/vsock/vsock_queue.h"

#include <gtest/gtest.h>

#include "testing/interleaver.h"
#include "testing/vsock_fixture.h"

namespace airlock::device {
namespace {

using testing::SeenPacket;
using testing::VsockFixture;
using namespace spec;  // NOLINT(google-build-using-namespace): the names of the wire

class VsockQueueTest : public VsockFixture {
 protected:
  VsockQueueTest() { open(); }
};

constexpr VsockPorts kPorts{.guest = 1000, .host = 80};

// VIRTIO 1.3, 5.10.6.5: a listening socket on the destination is answered by a response.
TEST_F(VsockQueueTest, AnswersARequestWhereSomebodyListens) {
  connector_->listening[80] = true;
  say({.op = VIRTIO_VSOCK_OP_REQUEST});
  const SeenPacket packet = hear_one();
  EXPECT_EQ(packet.op(), VIRTIO_VSOCK_OP_RESPONSE);
  EXPECT_EQ(packet.header.src_cid.get(), VIRTIO_VSOCK_CID_HOST);
  EXPECT_EQ(packet.header.dst_cid.get(), kCid);
  EXPECT_EQ(packet.header.src_port.get(), 80U);
  EXPECT_EQ(packet.header.dst_port.get(), 1000U);
  EXPECT_EQ(packet.header.type.get(), VIRTIO_VSOCK_TYPE_STREAM);
  EXPECT_GT(packet.header.buf_alloc.get(), 0U);
  EXPECT_EQ(device_->counts().connections, 1U);
}

// And by a reset where there is none.
TEST_F(VsockQueueTest, RefusesARequestWhereNobodyListens) {
  say({.op = VIRTIO_VSOCK_OP_REQUEST});
  EXPECT_EQ(hear_one().op(), VIRTIO_VSOCK_OP_RST);
  EXPECT_EQ(device_->counts().connections, 0U);
}

TEST_F(VsockQueueTest, PassesBytesOnToTheHost) {
  const Fd host = connect();
  say({.text = "hello"});
  say({.text = ", world"});
  EXPECT_EQ(read_some(host), "hello, world");
  EXPECT_EQ(device_->counts().bytes_to_host, 12U);
}

TEST_F(VsockQueueTest, PassesBytesOnToTheGuest) {
  const Fd host = connect();
  write_all(host, "hello");
  const SeenPacket packet = hear_one();
  EXPECT_EQ(packet.op(), VIRTIO_VSOCK_OP_RW);
  EXPECT_EQ(packet.text(), "hello");
  EXPECT_EQ(device_->counts().bytes_to_guest, 5U);
}

// However the driver cut a packet into buffers (VIRTIO 1.3, 2.7.4).
TEST_F(VsockQueueTest, TakesAPacketInPieces) {
  const Fd host = connect();
  const auto header = header_of({.text = "abcdef"});
  const auto bytes = std::as_bytes(std::span(&header, 1));
  testing::ChainBuilder(tx_ring_)
      .readable(bytes.first(10))
      .readable(bytes.subspan(10))
      .readable("ab")
      .readable("cdef, and more than the header says")
      .submit();
  while (MUST(tx_->poll())) {
  }
  EXPECT_EQ(read_some(host), "abcdef");
}

// VIRTIO 1.3, 5.10.6.3: data only where the peer has room for it.
TEST_F(VsockQueueTest, SendsNoMoreThanTheGuestHasRoomFor) {
  const Fd host = connect(kPorts, VIRTIO_VSOCK_TYPE_STREAM, 4);
  write_all(host, "0123456789");
  auto packets = hear();
  ASSERT_EQ(packets.size(), 2U);
  EXPECT_EQ(packets[0].text(), "0123");
  EXPECT_EQ(packets[1].op(), VIRTIO_VSOCK_OP_CREDIT_REQUEST);
  say({.op = VIRTIO_VSOCK_OP_CREDIT_UPDATE, .buf_alloc = 4, .fwd_cnt = 4});
  packets = hear();
  ASSERT_EQ(packets.size(), 2U);
  EXPECT_EQ(packets[0].text(), "4567");
  say({.op = VIRTIO_VSOCK_OP_CREDIT_UPDATE, .buf_alloc = 100, .fwd_cnt = 8});
  EXPECT_EQ(hear_one().text(), "89");
}

// ATK-13: counters that can't be. Who says it took more than it was sent gets nothing more.
TEST_F(VsockQueueTest, SendsNothingToAGuestThatTookMoreThanThereWas) {
  const Fd host = connect();
  say({.op = VIRTIO_VSOCK_OP_CREDIT_UPDATE, .buf_alloc = 65536, .fwd_cnt = 1});
  write_all(host, "secret");
  EXPECT_EQ(hear_one().op(), VIRTIO_VSOCK_OP_CREDIT_REQUEST);
  say({.op = VIRTIO_VSOCK_OP_CREDIT_UPDATE, .buf_alloc = 0xffffffff, .fwd_cnt = 0});
  EXPECT_EQ(hear_one().text(), "secret");
}

// ATK-12, ATK-13: a guest that sends beyond its credit is reset, and our memory stays bounded.
TEST_F(VsockQueueTest, ResetsAGuestThatSendsBeyondItsCredit) {
  const Fd host = connect();
  const std::string block(32768, 'x');
  const std::uint64_t most = 2U << 20U;  // the socket's buffer, and the credit
  std::uint64_t said = 0;
  while (device_->counts().overdrawn == 0 && said < most) {
    say({.text = block});
    said += block.size();
  }
  EXPECT_EQ(device_->counts().overdrawn, 1U);
  const auto packets = hear();
  ASSERT_FALSE(packets.empty());
  EXPECT_EQ(packets.back().op(), VIRTIO_VSOCK_OP_RST);
  EXPECT_EQ(device_->counts().connections, 0U);
}

TEST_F(VsockQueueTest, KeepsWhatTheHostDoesNotTakeYet_AndSaysWhenThereIsRoom) {
  connector_->send_buffer = 4096;
  const Fd host = connect();
  const std::string block(50000, 'x');
  std::string sent;
  for (char c = 'a'; c < 'e'; ++c) {
    const std::string text(50000, c);
    say({.text = text});
    sent += text;
  }
  std::string read;
  bool updated = false;
  while (read.size() < sent.size()) {
    const std::string some = read_some(host);
    if (some != "<nothing>") read += some;
    for (const SeenPacket& packet : hear()) {
      updated |= packet.op() == VIRTIO_VSOCK_OP_CREDIT_UPDATE;
    }
  }
  EXPECT_EQ(read, sent);
  EXPECT_TRUE(updated);
  say({.op = VIRTIO_VSOCK_OP_CREDIT_REQUEST});
  const SeenPacket packet = hear_one();
  EXPECT_EQ(packet.op(), VIRTIO_VSOCK_OP_CREDIT_UPDATE);
  EXPECT_EQ(packet.header.fwd_cnt.get(), sent.size());
}

// VIRTIO 1.3, 5.10.6.3: the reply to a request for credit is an update.
TEST_F(VsockQueueTest, AnswersARequestForCredit) {
  const Fd host = connect();
  say({.text = "12345"});
  say({.op = VIRTIO_VSOCK_OP_CREDIT_REQUEST});
  const SeenPacket packet = hear_one();
  EXPECT_EQ(packet.op(), VIRTIO_VSOCK_OP_CREDIT_UPDATE);
  EXPECT_EQ(packet.header.fwd_cnt.get(), 5U);
}

// VIRTIO 1.3, 5.10.6.5: half of a connection ends; the other goes on.
TEST_F(VsockQueueTest, HalfCloseByTheGuest) {
  const Fd host = connect();
  say({.text = "last"});
  say({.op = VIRTIO_VSOCK_OP_SHUTDOWN, .flags = VIRTIO_VSOCK_SHUTDOWN_SEND});
  EXPECT_EQ(read_some(host), "last");
  EXPECT_EQ(read_some(host), "<end>");
  write_all(host, "answer");
  EXPECT_EQ(hear_one().text(), "answer");
  // More after the end is a lie.
  say({.text = "more"});
  EXPECT_EQ(hear_one().op(), VIRTIO_VSOCK_OP_RST);
}

TEST_F(VsockQueueTest, HalfCloseByTheHost) {
  const Fd host = connect();
  write_all(host, "last");
  ::shutdown(host.get(), SHUT_WR);
  const auto packets = hear();
  ASSERT_EQ(packets.size(), 2U);
  EXPECT_EQ(packets[0].text(), "last");
  EXPECT_EQ(packets[1].op(), VIRTIO_VSOCK_OP_SHUTDOWN);
  EXPECT_EQ(packets[1].header.flags.get(), VIRTIO_VSOCK_SHUTDOWN_SEND);
  say({.text = "answer"});
  EXPECT_EQ(read_some(host), "answer");
}

TEST_F(VsockQueueTest, AGuestThatReceivesNoMoreGetsNothing) {
  const Fd host = connect();
  say({.op = VIRTIO_VSOCK_OP_SHUTDOWN, .flags = VIRTIO_VSOCK_SHUTDOWN_RCV});
  EXPECT_EQ(::send(host.get(), "x", 1, MSG_NOSIGNAL), -1);
  EXPECT_EQ(errno, EPIPE);
  EXPECT_TRUE(hear().empty());
  say({.text = "still"});
  EXPECT_EQ(read_some(host), "still");
}

// VIRTIO 1.3, 5.10.6.5: a clean disconnect ends with a reset by the peer.
TEST_F(VsockQueueTest, CleanDisconnectByTheGuest) {
  const Fd host = connect();
  say({.text = "bye"});
  say({.op = VIRTIO_VSOCK_OP_SHUTDOWN, .flags = VIRTIO_VSOCK_SHUTDOWN_BOTH});
  EXPECT_EQ(hear_one().op(), VIRTIO_VSOCK_OP_RST);
  EXPECT_EQ(read_some(host), "bye");
  EXPECT_EQ(read_some(host), "<end>");
  EXPECT_EQ(device_->counts().connections, 0U);
  EXPECT_EQ(device_->counts().resets, 0U);
}

TEST_F(VsockQueueTest, CleanDisconnectByTheHost) {
  Fd host = connect();
  write_all(host, "bye");
  host.reset();
  const auto packets = hear();
  ASSERT_GE(packets.size(), 2U);
  EXPECT_EQ(packets[0].text(), "bye");
  EXPECT_EQ(packets.back().op(), VIRTIO_VSOCK_OP_SHUTDOWN);
  EXPECT_EQ(packets.back().header.flags.get(), VIRTIO_VSOCK_SHUTDOWN_BOTH);
  say({.op = VIRTIO_VSOCK_OP_RST});
  EXPECT_TRUE(hear().empty());
  EXPECT_EQ(device_->counts().connections, 0U);
}

// The guest gave up waiting for the host to take the rest; the host gets it all the same.
TEST_F(VsockQueueTest, TheLastBytesOutliveTheConnection) {
  connector_->send_buffer = 4096;
  const Fd host = connect();
  const std::string text(60000, 'z');
  say({.text = text});
  say({.op = VIRTIO_VSOCK_OP_SHUTDOWN, .flags = VIRTIO_VSOCK_SHUTDOWN_BOTH});
  EXPECT_TRUE(hear().empty());
  say({.op = VIRTIO_VSOCK_OP_RST});
  std::string read;
  for (std::string some = read_some(host); some != "<end>"; some = read_some(host)) {
    if (some != "<nothing>") read += some;
    EXPECT_TRUE(hear().empty());
  }
  EXPECT_EQ(read, text);
  EXPECT_EQ(device_->counts().connections, 0U);
}

TEST_F(VsockQueueTest, AResetByTheGuestEndsAtOnce) {
  const Fd host = connect();
  say({.op = VIRTIO_VSOCK_OP_RST});
  EXPECT_EQ(read_some(host), "<end>");
  EXPECT_TRUE(hear().empty());
  EXPECT_EQ(device_->counts().connections, 0U);
}

TEST_F(VsockQueueTest, NeverAnswersAResetByAReset) {
  say({.op = VIRTIO_VSOCK_OP_RST});
  say({.op = VIRTIO_VSOCK_OP_RST, .type = 9});
  EXPECT_TRUE(hear().empty());
}

TEST_F(VsockQueueTest, ResetsWhatBelongsToNoConnection) {
  for (const std::uint16_t op :
       {VIRTIO_VSOCK_OP_RW, VIRTIO_VSOCK_OP_RESPONSE, VIRTIO_VSOCK_OP_SHUTDOWN,
        VIRTIO_VSOCK_OP_CREDIT_UPDATE, VIRTIO_VSOCK_OP_CREDIT_REQUEST, VIRTIO_VSOCK_OP_INVALID,
        std::uint16_t{99}}) {
    say({.op = op});
    EXPECT_EQ(hear_one().op(), VIRTIO_VSOCK_OP_RST) << op;
  }
  EXPECT_EQ(device_->counts().refused, 7U);
}

// VIRTIO 1.3, 5.10.6.4.2: an unknown type is answered by a reset, of the same type.
TEST_F(VsockQueueTest, ResetsAnUnknownType) {
  const Fd host = connect();
  say({.text = "x", .type = 3});
  const SeenPacket packet = hear_one();
  EXPECT_EQ(packet.op(), VIRTIO_VSOCK_OP_RST);
  EXPECT_EQ(packet.header.type.get(), 3U);
  say({.text = "still there"});
  EXPECT_EQ(read_some(host), "still there");
}

// VIRTIO 1.3, 5.10.6.2: a flow has a type, and addresses that are no other type's.
TEST_F(VsockQueueTest, ResetsAPacketOfTheOtherType) {
  const Fd host = connect();
  say({.text = "x", .type = VIRTIO_VSOCK_TYPE_SEQPACKET});
  EXPECT_EQ(hear_one().op(), VIRTIO_VSOCK_OP_RST);
  say({.text = "still there"});
  EXPECT_EQ(read_some(host), "still there");
}

// VIRTIO 1.3, 5.10.6.4.1: the guest's cid is the source of what it sends.
TEST_F(VsockQueueTest, DropsWhatComesInAnotherName) {
  connector_->listening[80] = true;
  say({.op = VIRTIO_VSOCK_OP_REQUEST, .source_cid = kCid + 1});
  say({.op = VIRTIO_VSOCK_OP_REQUEST, .source_cid = kCid | std::uint64_t{1} << 32U});
  EXPECT_TRUE(hear().empty());
  EXPECT_EQ(device_->counts().foreign, 2U);
}

TEST_F(VsockQueueTest, ResetsWhatIsForSomebodyElse) {
  connector_->listening[80] = true;
  say({.op = VIRTIO_VSOCK_OP_REQUEST, .target_cid = 9});
  const SeenPacket packet = hear_one();
  EXPECT_EQ(packet.op(), VIRTIO_VSOCK_OP_RST);
  EXPECT_EQ(packet.header.src_cid.get(), 9U);
}

TEST_F(VsockQueueTest, ResetsAConnectionThatIsAskedForTwice) {
  const Fd host = connect();
  say({.op = VIRTIO_VSOCK_OP_REQUEST});
  EXPECT_EQ(hear_one().op(), VIRTIO_VSOCK_OP_RST);
  EXPECT_EQ(read_some(host), "<end>");
}

TEST_F(VsockQueueTest, ResetsOperationsThatDoNotFit) {
  for (const std::uint16_t op :
       {VIRTIO_VSOCK_OP_RESPONSE, VIRTIO_VSOCK_OP_INVALID, std::uint16_t{8}}) {
    const Fd host = connect();
    say({.op = op});
    EXPECT_EQ(hear_one().op(), VIRTIO_VSOCK_OP_RST) << op;
    EXPECT_EQ(device_->counts().connections, 0U);
  }
}

TEST_F(VsockQueueTest, ResetsDataBeforeTheConnectionIsThere) {
  connector_->held = true;
  connector_->listening[80] = true;
  say({.op = VIRTIO_VSOCK_OP_REQUEST});
  say({.text = "early"});
  EXPECT_EQ(hear_one().op(), VIRTIO_VSOCK_OP_RST);
  connector_->answer_all();
  EXPECT_TRUE(hear().empty());
  EXPECT_EQ(read_some(connector_->accepted.front()), "<end>");
}

// VIRTIO 1.3, 5.10.6.6.1: messages arrive as they were sent.
TEST_F(VsockQueueTest, KeepsMessagesApart) {
  const Fd host = connect(kPorts, VIRTIO_VSOCK_TYPE_SEQPACKET);
  const auto part = [this](std::string_view text, std::uint32_t flags) {
    say({.text = text, .flags = flags, .type = VIRTIO_VSOCK_TYPE_SEQPACKET});
  };
  part("one", VIRTIO_VSOCK_SEQ_EOM);
  part("tw", 0);
  EXPECT_EQ(read_some(host), "one");
  EXPECT_EQ(read_some(host), "<nothing>");
  part("o", VIRTIO_VSOCK_SEQ_EOM | VIRTIO_VSOCK_SEQ_EOR);
  part("three", VIRTIO_VSOCK_SEQ_EOM);
  EXPECT_EQ(read_some(host), "two");
  EXPECT_EQ(read_some(host), "three");

  write_all(host, "four");
  write_all(host, "five");
  const auto packets = hear();
  ASSERT_EQ(packets.size(), 2U);
  EXPECT_EQ(packets[0].text(), "four");
  EXPECT_EQ(packets[0].header.flags.get(), VIRTIO_VSOCK_SEQ_EOM);
  EXPECT_EQ(packets[1].text(), "five");
}

TEST_F(VsockQueueTest, CutsAMessageIntoPackets_TheLastOfWhichSaysSo) {
  const Fd host = connect(kPorts, VIRTIO_VSOCK_TYPE_SEQPACKET);
  std::string text;
  for (unsigned i = 0; text.size() < 3000; ++i)
    text += std::to_string(i);
  write_all(host, text);
  write_all(host, "next");
  std::string heard;
  const auto packets = hear();
  for (const SeenPacket& packet : packets) {
    heard += packet.text();
    const bool end = heard.size() == text.size() || heard.size() == text.size() + 4;
    EXPECT_EQ(packet.header.flags.get(), end ? VIRTIO_VSOCK_SEQ_EOM : 0U);
  }
  EXPECT_EQ(heard, text + "next");
  EXPECT_GT(packets.size(), 6U);
}

TEST_F(VsockQueueTest, ResetsWhereAMessageCouldNeverBeTaken) {
  const Fd host = connect(kPorts, VIRTIO_VSOCK_TYPE_SEQPACKET, 1000);
  write_all(host, std::string(1000, 'x'));
  EXPECT_EQ(hear().front().op(), VIRTIO_VSOCK_OP_RW);
  say({.op = VIRTIO_VSOCK_OP_CREDIT_UPDATE,
       .type = VIRTIO_VSOCK_TYPE_SEQPACKET,
       .buf_alloc = 1000,
       .fwd_cnt = 1000});
  write_all(host, std::string(1001, 'x'));
  EXPECT_EQ(hear().back().op(), VIRTIO_VSOCK_OP_RST);
}

// A message whose end never comes stays within the credit.
TEST_F(VsockQueueTest, ResetsAMessageWithoutEnd) {
  const Fd host = connect(kPorts, VIRTIO_VSOCK_TYPE_SEQPACKET);
  const std::string block(16384, 'x');
  for (unsigned i = 0; i < 8; ++i)
    say({.text = block, .type = VIRTIO_VSOCK_TYPE_SEQPACKET});
  EXPECT_EQ(device_->counts().overdrawn, 0U);
  say({.text = "x", .type = VIRTIO_VSOCK_TYPE_SEQPACKET});
  EXPECT_EQ(device_->counts().overdrawn, 1U);
  EXPECT_EQ(hear_one().op(), VIRTIO_VSOCK_OP_RST);
}

// VIRTIO 1.3, 5.10.6.1.2: the tx queue goes on while the rx queue is full, as long as there is room
// for answers; then it waits for the guest.
TEST_F(VsockQueueTest, TakesPacketsWithoutBuffersToAnswerIn_UpToALimit) {
  for (unsigned i = 0; i < VsockConnections::kResetsMost; ++i)
    say({.op = VIRTIO_VSOCK_OP_RW, .ports = {.guest = i, .host = 1}});
  EXPECT_EQ(device_->counts().refused, VsockConnections::kResetsMost);
  put({.op = VIRTIO_VSOCK_OP_RW, .ports = {.guest = 7777, .host = 1}});
  EXPECT_FALSE(MUST(tx_->poll()));
  EXPECT_FALSE(tx_ring_.take_used().has_value());
  // The guest listens: what waited is taken, and the queue's thread hears of it.
  EXPECT_EQ(hear().size(), VsockConnections::kResetsMost);
  pollfd event{.fd = tx_->completion_fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&event, 1, 0), 1);
  EXPECT_TRUE(MUST(tx_->poll()));
  EXPECT_EQ(hear_one().header.dst_port.get(), 7777U);
}

TEST_F(VsockQueueTest, ConnectionsAnswerHoweverLongTheGuestDoesNotListen) {
  connector_->listening[80] = true;
  for (std::uint32_t i = 0; i < 100; ++i)
    say({.op = VIRTIO_VSOCK_OP_REQUEST, .ports = {.guest = i, .host = 80}});
  MUST(rx_->poll());
  MUST(rx_->poll());
  for (std::uint32_t i = 0; i < 1000; ++i)
    say({.op = VIRTIO_VSOCK_OP_CREDIT_REQUEST, .ports = {.guest = i % 100, .host = 80}});
  EXPECT_EQ(hear().size(), 100U);  // a response each, which tells of the credit, too
}

// ATK-12: what is half open is bounded; beyond it, a reset for insufficient resources (5.10.6.5).
TEST_F(VsockQueueTest, RefusesAStormOfRequests) {
  connector_->held = true;
  connector_->listening[80] = true;
  const auto most = static_cast<std::uint32_t>(VsockConnections::kHalfOpenMost);
  for (std::uint32_t i = 0; i < most; ++i)
    say({.op = VIRTIO_VSOCK_OP_REQUEST, .ports = {.guest = i, .host = 80}});
  EXPECT_EQ(device_->counts().half_open, most);
  EXPECT_TRUE(hear().empty());
  say({.op = VIRTIO_VSOCK_OP_REQUEST, .ports = {.guest = most, .host = 80}});
  EXPECT_EQ(hear_one().op(), VIRTIO_VSOCK_OP_RST);
  // One goes, another may come.
  say({.op = VIRTIO_VSOCK_OP_RST, .ports = {.guest = 0, .host = 80}});
  say({.op = VIRTIO_VSOCK_OP_REQUEST, .ports = {.guest = most, .host = 80}});
  EXPECT_TRUE(hear().empty());
  connector_->answer_all();
  EXPECT_EQ(hear().size(), most);
}

TEST_F(VsockQueueTest, RefusesWhatTheConnectorHasNoRoomFor) {
  connector_->full = true;
  say({.op = VIRTIO_VSOCK_OP_REQUEST});
  EXPECT_EQ(hear_one().op(), VIRTIO_VSOCK_OP_RST);
  EXPECT_EQ(device_->counts().connections, 0U);
}

// One connection with much to say leaves room for the others.
TEST_F(VsockQueueTest, ConnectionsTakeTurns) {
  const Fd loud = connect({.guest = 1, .host = 80});
  const Fd quiet = connect({.guest = 2, .host = 80});
  write_all(loud, std::string(20000, 'x'));
  write_all(quiet, "me too");
  const auto packets = hear();
  ASSERT_GT(packets.size(), 10U);
  EXPECT_TRUE(packets[0].text() == "me too" || packets[1].text() == "me too");
}

TEST_F(VsockQueueTest, ADriverThatIsGoneLeavesNothing) {
  const Fd host = connect();
  rx_.reset();
  tx_.reset();
  device_->stopped();
  EXPECT_EQ(read_some(host), "<end>");
  EXPECT_EQ(device_->counts().connections, 0U);
}

// ATK-11: what was checked is what is used, whatever the guest does to it meanwhile.
TEST_F(VsockQueueTest, ReadsNothingOfAPacketTwice) {
  const Fd host = connect();
  put({.text = "hello"});
  testing::DoubleFetchDetector detector(region_.bytes());
  // Its index is looked at as often as anybody likes.
  detector.allow_polling(std::to_underlying(tx_ring_.config().areas.driver), 4);
  const auto twice = detector.watch([this] { EXPECT_TRUE(MUST(tx_->poll())); });
  EXPECT_TRUE(twice.empty()) << testing::describe(twice);
  EXPECT_GT(detector.loads(), 0U);
  EXPECT_EQ(read_some(host), "hello");
}

// Packets that are none break the queue; ATK-3.
TEST_F(VsockQueueTest, APacketWithoutAHeaderBreaksTheQueue) {
  testing::ChainBuilder(tx_ring_).readable(std::string(43, 'x')).submit();
  const auto polled = tx_->poll();
  ASSERT_FALSE(polled.has_value());
  EXPECT_EQ(polled.error().code, Errc::kTooSmall);
  EXPECT_EQ(tx_->poll().error().code, Errc::kQueueBroken);
  EXPECT_EQ(tx_->rebind().error().code, Errc::kQueueBroken);
}

TEST_F(VsockQueueTest, APacketLongerThanItsBuffersBreaksTheQueue) {
  auto header = header_of({.text = "abc"});
  header.len.set(4);
  testing::ChainBuilder(tx_ring_).readable_struct(header).readable("abc").submit();
  const auto polled = tx_->poll();
  ASSERT_FALSE(polled.has_value());
  EXPECT_EQ(polled.error().code, Errc::kBadLength);
  EXPECT_EQ(polled.error().detail, 4U);
}

TEST_F(VsockQueueTest, ABufferWithoutRoomForAHeaderBreaksTheQueue) {
  offer_buffers(1, 43);
  say({.op = VIRTIO_VSOCK_OP_RW});
  EXPECT_EQ(rx_->poll().error().code, Errc::kTooSmall);
}

TEST_F(VsockQueueTest, ABufferForAHeaderAloneIsEnoughWithoutData) {
  offer_buffers(1, 44);
  say({.op = VIRTIO_VSOCK_OP_RW});
  EXPECT_TRUE(MUST(rx_->poll()));
  EXPECT_EQ(take_packet()->op(), VIRTIO_VSOCK_OP_RST);
}

TEST_F(VsockQueueTest, ABufferForAHeaderAloneBreaksTheQueueWhereThereIsData) {
  const Fd host = connect();
  write_all(host, "a");
  run_rx();  // into the buffer that is there
  write_all(host, "b");
  offer_buffers(1, 44);
  const auto polled = rx_->poll();
  ASSERT_FALSE(polled.has_value());
  EXPECT_EQ(polled.error().code, Errc::kTooSmall);
}

}  // namespace
}  // namespace airlock::device
