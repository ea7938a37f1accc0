// SPDX-License-Identifier: Apache-2.0
//
// Goal: nothing that a device says by its event queue, however often, makes the driver read beyond
// what was written, wait longer than it was told to, keep a connection that is gone, or lose one
// that is not. Method: a device that says what the test has it say, beside the honest twin.
#include <gtest/gtest.h>

#include <string>

#include "driver/vsock.h"
#include "testing/fake_transport.h"
#include "testing/fake_vsock.h"

namespace airlock::driver {
namespace {

using testing::FakeVsock;
using Header = spec::VirtioVsockHdr;
using namespace spec;  // NOLINT(google-build-using-namespace): the names of the wire

class VsockEventHostileTest : public ::testing::Test {
 protected:
  static constexpr std::uint32_t kQueueSize = 16;

  VsockEventHostileTest() {
    Vsock::Options options;
    options.link = {.queue_size = kQueueSize, .receive_bytes = 1024, .send_bytes = 1024};
    options.buffer_bytes = 4096;
    options.timeout = std::chrono::milliseconds(50);
    options.device.timeout = std::chrono::milliseconds(50);
    vsock_ = MUST(
        Vsock::open(std::make_unique<testing::FakeTransport>(parts_.device(), parts_.memfd, lies_,
                                                             testing::FakeTransport::Options{true}),
                    options));
  }
  /// An honest connection.
  SocketId connect() {
    fake().on_packet = [this](const Header& header, std::string_view /*text*/) {
      if (header.op.get() != VIRTIO_VSOCK_OP_REQUEST) return;
      request_ = header;
      fake().say(FakeVsock::answer_to(header, VIRTIO_VSOCK_OP_RESPONSE));
    };
    return MUST(vsock_->connect(80, SocketType::kStream));
  }
  void say_data(std::string_view text) {
    Header header = FakeVsock::answer_to(request_, VIRTIO_VSOCK_OP_RW);
    header.len.set(static_cast<std::uint32_t>(text.size()));
    EXPECT_TRUE(fake().say(header, text));
  }
  /// A host that connects to port 80.
  void say_request(std::uint32_t src_port) {
    Header request{};
    request.src_cid.set(VIRTIO_VSOCK_CID_HOST);
    request.dst_cid.set(vsock_->cid());
    request.src_port.set(src_port);
    request.dst_port.set(80);
    request.type.set(VIRTIO_VSOCK_TYPE_STREAM);
    request.op.set(VIRTIO_VSOCK_OP_REQUEST);
    request.buf_alloc.set(4096);
    EXPECT_TRUE(fake().say(request));
  }
  Result<std::string> receive(SocketId socket) {
    std::string text(64, '\0');
    const auto got = vsock_->receive(socket, std::as_writable_bytes(std::span(text)));
    if (!got) return fail(got.error());
    return text.substr(0, got->bytes);
  }
  /// Another event for each that the driver gives back, as often as it does.
  void flood(std::uint32_t id) {
    fake().on_notify = [this, id](std::uint16_t queue) {
      if (queue == VIRTIO_VSOCK_QUEUE_EVENT && fake().say_event(id)) ++events_;
    };
    EXPECT_TRUE(fake().say_event(id));
  }
  FakeVsock& fake() { return parts_.vsock; }

  testing::Lies lies_;
  testing::FakeVsockDevice parts_;
  Header request_{};
  std::unique_ptr<Vsock> vsock_;
  std::size_t events_ = 0;
};

// HD-3: an event is four bytes, and what was not written is none.
TEST_F(VsockEventHostileTest, AnEventOfLessBreaksTheDevice) {
  const SocketId socket = connect();
  EXPECT_TRUE(fake().say_event(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET, 0));
  EXPECT_EQ(receive(socket).error().code, Errc::kBadLength);
  EXPECT_TRUE(vsock_->device().broken().has_value());
}

// VIRTIO 1.3, 5.10.6.7: one event is defined; its neighbours, and what looks like it, are none.
TEST_F(VsockEventHostileTest, EventsOfOtherNumbersMeanNothing) {
  const SocketId socket = connect();
  for (const std::uint32_t id : {1U, 0x100U, 0x10000U, 0x80000000U, 0xffffffffU})
    EXPECT_TRUE(fake().say_event(id));
  say_data("hello");
  EXPECT_EQ(receive(socket).value(), "hello");
  EXPECT_FALSE(vsock_->device().broken().has_value());
}

// HD-19: each call ends when it was told to, whatever a device has to say meanwhile.
TEST_F(VsockEventHostileTest, AFloodOfEventsKeepsNobodyBeyondTheDeadline) {
  const SocketId socket = connect();
  flood(77);
  EXPECT_EQ(receive(socket).error().code, Errc::kTimeout);
  EXPECT_GT(events_, 2 * kQueueSize);
  EXPECT_FALSE(vsock_->device().broken().has_value());
  // And the connection is as it was.
  say_data("hello");
  EXPECT_EQ(receive(socket).value(), "hello");
}

TEST_F(VsockEventHostileTest, AFloodOfResetsKeepsNobodyBeyondTheDeadline) {
  ASSERT_TRUE(vsock_->listen(80, SocketType::kStream).has_value());
  flood(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
  EXPECT_EQ(vsock_->accept(80, SocketType::kStream).error().code, Errc::kTimeout);
  EXPECT_GT(events_, 2 * kQueueSize);
}

TEST_F(VsockEventHostileTest, AFloodOfPacketsForNobodyKeepsNobodyBeyondTheDeadline) {
  const SocketId socket = connect();
  Header other = FakeVsock::answer_to(request_, VIRTIO_VSOCK_OP_RST);
  other.dst_cid.set(6);
  std::size_t packets = 0;
  fake().on_notify = [&](std::uint16_t queue) {
    if (queue == VIRTIO_VSOCK_QUEUE_RX && fake().say(other)) ++packets;
  };
  EXPECT_TRUE(fake().say(other));
  EXPECT_EQ(receive(socket).error().code, Errc::kTimeout);
  EXPECT_GT(packets, 2 * kQueueSize);
}

// HD-4, ATK-6: no more events than there are buffers for.
TEST_F(VsockEventHostileTest, AllBuffersAtOnceAreOneReset) {
  const SocketId socket = connect();
  for (std::uint32_t i = 0; i < kQueueSize; ++i)
    EXPECT_TRUE(fake().say_event(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET));
  EXPECT_FALSE(fake().say_event(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET));
  EXPECT_EQ(receive(socket).error().code, Errc::kPeerClosed);
  EXPECT_FALSE(vsock_->device().broken().has_value());
  // All of them are the device's again.
  for (std::uint32_t i = 0; i < kQueueSize; ++i)
    EXPECT_TRUE(fake().say_event(77));
}

// VIRTIO 1.3, 5.10.4, 5.10.6.7.1: the number after a reset is checked as the first one was.
TEST_F(VsockEventHostileTest, AReservedCidAfterAResetBreaksTheDevice) {
  const SocketId socket = connect();
  fake().guest_cid = VIRTIO_VSOCK_CID_HOST;
  EXPECT_TRUE(fake().say_event(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET));
  EXPECT_EQ(receive(socket).error().code, Errc::kMalformed);
  EXPECT_TRUE(vsock_->device().broken().has_value());
}

// VIRTIO 1.3, 5.10.6.7.1: a connection that is gone has no ports, so that a peer behind the new
// transport may have them.
TEST_F(VsockEventHostileTest, PortsOfLostConnectionsAreFree) {
  ASSERT_TRUE(vsock_->listen(80, SocketType::kStream).has_value());
  say_request(7);
  const SocketId lost = vsock_->accept(80, SocketType::kStream).value();
  EXPECT_TRUE(fake().say_event(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET));
  EXPECT_EQ(receive(lost).error().code, Errc::kPeerClosed);
  say_request(7);
  const auto next = vsock_->accept(80, SocketType::kStream);
  ASSERT_TRUE(next.has_value());
  EXPECT_TRUE(vsock_->close(lost).has_value());
  const std::string text = "to the new one";
  EXPECT_TRUE(vsock_->send(*next, std::as_bytes(std::span(text))).has_value());
}

TEST_F(VsockEventHostileTest, AResetWhileConnectingEndsTheAttempt) {
  fake().on_packet = [this](const Header& /*header*/, std::string_view /*text*/) {
    fake().say_event(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
  };
  EXPECT_EQ(vsock_->connect(80, SocketType::kStream).error().code, Errc::kPeerClosed);
  EXPECT_EQ(vsock_->socket_count(), 0U);
}

}  // namespace
}  // namespace airlock::driver
