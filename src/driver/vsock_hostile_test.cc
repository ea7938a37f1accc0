// SPDX-License-Identifier: Apache-2.0
//
// Goal: no packet of a device, however absurd, makes the driver read beyond what was written, keep
// more than it granted, hang or crash: the socket, or the device, ends with an error. Method: a
// device that says what the test has it say, beside the honest twin.
#include <gtest/gtest.h>

#include "driver/vsock.h"
#include "testing/fake_transport.h"
#include "testing/fake_vsock.h"

namespace airlock::driver {
namespace {

using testing::FakeVsock;
using Header = spec::VirtioVsockHdr;
using namespace spec;  // NOLINT(google-build-using-namespace): the names of the wire

class VsockHostileTest : public ::testing::Test {
 protected:
  Result<std::unique_ptr<Vsock>> try_open() {
    Vsock::Options options;
    options.link = {.queue_size = 16, .receive_bytes = 1024, .send_bytes = 1024};
    options.buffer_bytes = 4096;
    options.sockets_max = 8;
    options.backlog_max = 4;
    options.timeout = std::chrono::milliseconds(50);
    options.device.timeout = std::chrono::milliseconds(50);
    return Vsock::open(
        std::make_unique<testing::FakeTransport>(parts_.device(), parts_.memfd, lies_,
                                                 testing::FakeTransport::Options{true}),
        options);
  }
  void open() { vsock_ = MUST(try_open()); }
  /// An honest connection; what the device says of it next is up to the test.
  SocketId connect(SocketType type = SocketType::kStream) {
    if (!vsock_) open();
    fake().on_packet = [this](const Header& header, std::string_view /*text*/) {
      if (header.op.get() != VIRTIO_VSOCK_OP_REQUEST) return;
      request_ = header;
      fake().say(FakeVsock::answer_to(header, VIRTIO_VSOCK_OP_RESPONSE));
    };
    return MUST(vsock_->connect(80, type));
  }
  [[nodiscard]] Header packet(std::uint16_t op, std::uint32_t length = 0) const {
    Header header = FakeVsock::answer_to(request_, op);
    header.len.set(length);
    return header;
  }
  bool say_data(std::string_view text, std::uint32_t flags = 0) {
    Header header = packet(VIRTIO_VSOCK_OP_RW, static_cast<std::uint32_t>(text.size()));
    header.flags.set(flags);
    return fake().say(header, text);
  }
  Result<std::string> receive(SocketId socket) {
    std::string text(8192, '\0');
    const auto got = vsock_->receive(socket, std::as_writable_bytes(std::span(text)));
    if (!got) return fail(got.error());
    return text.substr(0, got->bytes);
  }
  FakeVsock& fake() { return parts_.vsock; }
  [[nodiscard]] std::uint16_t last_op() { return fake().heard.back().op.get(); }

  testing::Lies lies_;
  testing::FakeVsockDevice parts_;
  Header request_{};
  std::unique_ptr<Vsock> vsock_;
};

TEST_F(VsockHostileTest, AnHonestDeviceIsBelieved) {
  const SocketId socket = connect();
  EXPECT_EQ(vsock_->cid(), 5U);
  EXPECT_TRUE(say_data("hello"));
  EXPECT_EQ(receive(socket).value(), "hello");
  const std::string text = "answer";
  EXPECT_TRUE(vsock_->send(socket, std::as_bytes(std::span(text))).has_value());
  EXPECT_EQ(last_op(), VIRTIO_VSOCK_OP_RW);
  EXPECT_EQ(fake().heard.back().len.get(), 6U);
}

// VIRTIO 1.3, 5.10.4: ids that no guest has.
TEST_F(VsockHostileTest, AReservedCidIsALie) {
  for (const std::uint64_t cid :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{0xffffffff},
        std::uint64_t{5} | std::uint64_t{1} << 32U}) {
    fake().guest_cid = cid;
    const auto opened = try_open();
    ASSERT_FALSE(opened.has_value()) << cid;
    EXPECT_EQ(opened.error().code, Errc::kMalformed);
  }
}

// HD-3: what was written is what there is.
TEST_F(VsockHostileTest, APacketLongerThanWhatWasWrittenBreaksTheDevice) {
  const SocketId socket = connect();
  fake().say(packet(VIRTIO_VSOCK_OP_RW, 6), "hello");
  EXPECT_EQ(receive(socket).error().code, Errc::kBadLength);
  EXPECT_TRUE(vsock_->device().broken().has_value());
}

TEST_F(VsockHostileTest, APacketWithoutAHeaderBreaksTheDevice) {
  const SocketId socket = connect();
  fake().say(packet(VIRTIO_VSOCK_OP_RW), {}, 43);
  EXPECT_EQ(receive(socket).error().code, Errc::kBadLength);
}

TEST_F(VsockHostileTest, AnEventThatWasNotWrittenBreaksTheDevice) {
  const SocketId socket = connect();
  fake().say_event(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET, 3);
  EXPECT_EQ(receive(socket).error().code, Errc::kBadLength);
}

// VIRTIO 1.3, 5.10.6.3, ATK-13: no more than was granted is ever kept.
TEST_F(VsockHostileTest, MoreThanWasGrantedResetsTheSocket) {
  const SocketId socket = connect();
  const std::string block(900, 'x');
  for (unsigned i = 0; i < 4; ++i)
    EXPECT_TRUE(say_data(block));
  EXPECT_TRUE(say_data(std::string(497, 'x')));  // one byte too many
  std::size_t received = 0;
  Result<std::string> some = receive(socket);
  for (; some && !some->empty(); some = receive(socket))
    received += some->size();
  EXPECT_EQ(received, 3600U);
  EXPECT_EQ(some.error().code, Errc::kPeerClosed);
  EXPECT_EQ(last_op(), VIRTIO_VSOCK_OP_RST);
  EXPECT_FALSE(vsock_->device().broken().has_value());
}

TEST_F(VsockHostileTest, ExactlyWhatWasGrantedIsKept) {
  const SocketId socket = connect();
  for (const std::size_t length : {900U, 900U, 900U, 900U, 496U})
    EXPECT_TRUE(say_data(std::string(length, 'x')));
  std::size_t received = 0;
  while (received < 4096)
    received += receive(socket).value().size();
  EXPECT_EQ(received, 4096U);
}

// A peer that says it took more than it was sent is sent nothing.
TEST_F(VsockHostileTest, NothingIsSentToAPeerWithoutCredit) {
  const SocketId socket = connect();
  Header update = packet(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
  update.fwd_cnt.set(1);
  fake().say(update);
  const std::string text = "secret";
  EXPECT_EQ(vsock_->send(socket, std::as_bytes(std::span(text))).error().code, Errc::kTimeout);
  for (const Header& header : fake().heard)
    EXPECT_NE(header.op.get(), VIRTIO_VSOCK_OP_RW);
}

// VIRTIO 1.3, 5.10.6.4.1: an unknown type is answered by a reset.
TEST_F(VsockHostileTest, AnUnknownTypeIsAnsweredByAReset) {
  const SocketId socket = connect();
  Header odd = packet(VIRTIO_VSOCK_OP_RW);
  odd.type.set(7);
  fake().say(odd);
  EXPECT_EQ(receive(socket).error().code, Errc::kTimeout);
  EXPECT_EQ(last_op(), VIRTIO_VSOCK_OP_RST);
  EXPECT_EQ(fake().heard.back().type.get(), 7U);
  EXPECT_TRUE(say_data("still there"));
  EXPECT_EQ(receive(socket).value(), "still there");
}

TEST_F(VsockHostileTest, WhatIsForNobodyIsDropped) {
  const SocketId socket = connect();
  const std::size_t before = fake().heard.size();
  Header other = packet(VIRTIO_VSOCK_OP_RST);
  other.dst_cid.set(6);
  fake().say(other);
  other = packet(VIRTIO_VSOCK_OP_RST);
  other.src_cid.set(9);
  fake().say(other);
  EXPECT_EQ(receive(socket).error().code, Errc::kTimeout);
  EXPECT_EQ(fake().heard.size(), before);
}

TEST_F(VsockHostileTest, NoResetForAReset) {
  const SocketId socket = connect();
  const std::size_t before = fake().heard.size();
  Header unknown = packet(VIRTIO_VSOCK_OP_RST);
  unknown.dst_port.set(1);
  fake().say(unknown);
  EXPECT_EQ(receive(socket).error().code, Errc::kTimeout);
  EXPECT_EQ(fake().heard.size(), before);
}

TEST_F(VsockHostileTest, OperationsThatDoNotFitResetTheSocket) {
  for (const std::uint16_t op : {VIRTIO_VSOCK_OP_INVALID, VIRTIO_VSOCK_OP_REQUEST,
                                 VIRTIO_VSOCK_OP_RESPONSE, std::uint16_t{8}}) {
    const SocketId socket = connect();
    fake().say(packet(op));
    EXPECT_EQ(receive(socket).error().code, Errc::kPeerClosed) << op;
    EXPECT_EQ(last_op(), VIRTIO_VSOCK_OP_RST) << op;
  }
}

TEST_F(VsockHostileTest, ADeviceThatTakesNothingIsWaitedForSoLong) {
  const SocketId socket = connect();
  fake().deaf = true;
  const std::string text(32768, 'x');
  EXPECT_EQ(vsock_->send(socket, std::as_bytes(std::span(text))).error().code, Errc::kTimeout);
}

TEST_F(VsockHostileTest, ADeviceThatAnswersNoRequestIsWaitedForSoLong) {
  open();
  EXPECT_EQ(vsock_->connect(80, SocketType::kStream).error().code, Errc::kTimeout);
  EXPECT_EQ(vsock_->socket_count(), 0U);
  EXPECT_EQ(last_op(), VIRTIO_VSOCK_OP_RST);
}

// ATK-12: requests nobody accepts are refused beyond the backlog, and unknown ports always.
TEST_F(VsockHostileTest, AStormOfRequestsIsBounded) {
  open();
  ASSERT_TRUE(vsock_->listen(80, SocketType::kStream).has_value());
  ASSERT_TRUE(vsock_->listen(81, SocketType::kStream).has_value());
  Header request{};
  request.src_cid.set(VIRTIO_VSOCK_CID_HOST);
  request.dst_cid.set(5);
  request.dst_port.set(80);
  request.type.set(VIRTIO_VSOCK_TYPE_STREAM);
  request.op.set(VIRTIO_VSOCK_OP_REQUEST);
  for (std::uint32_t i = 0; i < 10; ++i) {
    request.src_port.set(i);
    fake().say(request);
    EXPECT_FALSE(vsock_->accept(81, SocketType::kStream).has_value());
  }
  EXPECT_EQ(vsock_->socket_count(), 4U);
  EXPECT_EQ(last_op(), VIRTIO_VSOCK_OP_RST);
}

// VIRTIO 1.3, 5.10.6.7.1: connections are shut down, the cid is read again, listening goes on.
TEST_F(VsockHostileTest, ATransportResetEndsConnections) {
  const SocketId socket = connect();
  ASSERT_TRUE(vsock_->listen(80, SocketType::kStream).has_value());
  fake().guest_cid = 6;
  fake().say_event(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
  EXPECT_EQ(receive(socket).error().code, Errc::kPeerClosed);
  EXPECT_EQ(vsock_->cid(), 6U);
  Header request{};
  request.src_cid.set(VIRTIO_VSOCK_CID_HOST);
  request.dst_cid.set(6);
  request.dst_port.set(80);
  request.type.set(VIRTIO_VSOCK_TYPE_STREAM);
  request.op.set(VIRTIO_VSOCK_OP_REQUEST);
  fake().say(request);
  EXPECT_TRUE(vsock_->accept(80, SocketType::kStream).has_value());
}

TEST_F(VsockHostileTest, AnotherEventMeansNothing) {
  const SocketId socket = connect();
  fake().say_event(77);
  EXPECT_TRUE(say_data("hello"));
  EXPECT_EQ(receive(socket).value(), "hello");
}

// VIRTIO 1.3, 5.10.3.1: without a word about types, streams are in use, and nothing else.
TEST_F(VsockHostileTest, TypesThatWereNotAgreedUponAreNotUsed) {
  fake().own_features = 0;
  const SocketId socket = connect();
  EXPECT_EQ(vsock_->connect(80, SocketType::kSeqpacket).error().code, Errc::kNotSupportedByDevice);
  Header message = packet(VIRTIO_VSOCK_OP_RW);
  message.type.set(VIRTIO_VSOCK_TYPE_SEQPACKET);
  fake().say(message);
  EXPECT_EQ(receive(socket).error().code, Errc::kTimeout);
  EXPECT_EQ(last_op(), VIRTIO_VSOCK_OP_RST);
}

// A message whose end never comes stays within the credit, and is given to nobody.
TEST_F(VsockHostileTest, AMessageWithoutEndIsNeverGiven) {
  const SocketId socket = connect(SocketType::kSeqpacket);
  EXPECT_TRUE(say_data("no end"));
  EXPECT_EQ(receive(socket).error().code, Errc::kTimeout);
  EXPECT_TRUE(say_data(", but one", VIRTIO_VSOCK_SEQ_EOM));
  EXPECT_EQ(receive(socket).value(), "no end, but one");
}

}  // namespace
}  // namespace airlock::driver
