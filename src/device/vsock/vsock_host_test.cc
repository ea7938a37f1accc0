// SPDX-License-Identifier: Apache-2.0
// Goal: a client of the host gets to the port that it names, and one that is slow, wrong or many
// costs nobody else anything. Method: a real listening socket, and a driver written by hand.
#include "device/vsock/vsock_host.h"

#include <fcntl.h>

#include <gtest/gtest.h>

#include "testing/vsock_fixture.h"
#include "wire/listener.h"
#include "wire/socket.h"

namespace airlock::device {
namespace {

using testing::SeenPacket;
using testing::VsockFixture;
using namespace spec;  // NOLINT(google-build-using-namespace): the names of the wire

class VsockHostTest : public VsockFixture {
 protected:
  VsockHostTest() {
    VsockDevice::Options options;
    options.listeners.push_back({.socket = listen(stream_, kStream)});
    options.listeners.push_back(
        {.socket = listen(seqpacket_, kSeqpacket), .type = VsockType::kSeqpacket});
    options.listeners.push_back({.socket = listen(port_, kPort), .port = 7000});
    options.connections_most = 1000;
    make_device(std::move(options));
    open();
  }
  struct Place {
    const char* name;
    int type;
  };
  static constexpr Place kStream{.name = "stream", .type = SOCK_STREAM};
  static constexpr Place kSeqpacket{.name = "seqpacket", .type = SOCK_SEQPACKET};
  static constexpr Place kPort{.name = "port", .type = SOCK_STREAM};

  static Fd listen(vfio_user::Listener& listener, const Place& place) {
    listener =
        MUST(vfio_user::Listener::create(path_of(place), {.type = place.type, .backlog = 200}));
    return Fd(fcntl(listener.fd(), F_DUPFD_CLOEXEC, 0));
  }
  static std::string path_of(const Place& place) {
    return ::testing::TempDir() + "vsock-host-" + std::to_string(getpid()) + "-" + place.name;
  }
  static Fd client(const Place& place = kStream) {
    Fd socket = MUST(own_fd(::socket(AF_UNIX, place.type | SOCK_CLOEXEC, 0)));
    const sockaddr_un address = MUST(vfio_user::unix_address(path_of(place)));
    CHECK(::connect(socket.get(), vfio_user::as_sockaddr(address), sizeof address) == 0);
    return socket;
  }
  /// Says where it wants to go; the request that the guest gets.
  SeenPacket ask(const Fd& socket, std::string_view line) {
    write_all(socket, line);
    return hear_one();
  }
  static VsockPorts ports_of(const SeenPacket& packet) {
    return {.guest = packet.header.dst_port.get(), .host = packet.header.src_port.get()};
  }

  vfio_user::Listener stream_;
  vfio_user::Listener seqpacket_;
  vfio_user::Listener port_;
};

TEST_F(VsockHostTest, ConnectsAClientToThePortThatItNames) {
  const Fd host = client();
  const SeenPacket request = ask(host, "CONNECT 5000\nand data at once");
  EXPECT_EQ(request.op(), VIRTIO_VSOCK_OP_REQUEST);
  EXPECT_EQ(request.header.dst_port.get(), 5000U);
  EXPECT_EQ(request.header.src_cid.get(), VIRTIO_VSOCK_CID_HOST);
  EXPECT_EQ(read_some(host), "<nothing>");
  say({.op = VIRTIO_VSOCK_OP_RESPONSE, .ports = ports_of(request)});
  EXPECT_EQ(read_some(host), "OK " + std::to_string(request.header.src_port.get()) + "\n");
  EXPECT_EQ(hear_one().text(), "and data at once");
  say({.ports = ports_of(request), .text = "answer"});
  EXPECT_EQ(read_some(host), "answer");
}

TEST_F(VsockHostTest, ClosesAClientThatTheGuestRefuses) {
  const Fd host = client();
  const SeenPacket request = ask(host, "CONNECT 5000\n");
  say({.op = VIRTIO_VSOCK_OP_RST, .ports = ports_of(request)});
  EXPECT_EQ(read_some(host), "<end>");
  EXPECT_EQ(device_->counts().connections, 0U);
}

TEST_F(VsockHostTest, ConnectsMessagesAsWell) {
  const Fd host = client(kSeqpacket);
  const SeenPacket request = ask(host, "CONNECT 5000\n");
  EXPECT_EQ(request.header.type.get(), VIRTIO_VSOCK_TYPE_SEQPACKET);
  say({.op = VIRTIO_VSOCK_OP_RESPONSE,
       .ports = ports_of(request),
       .type = VIRTIO_VSOCK_TYPE_SEQPACKET});
  EXPECT_TRUE(read_some(host).starts_with("OK "));
  write_all(host, "one");
  EXPECT_EQ(hear_one().header.flags.get(), VIRTIO_VSOCK_SEQ_EOM);
}

TEST_F(VsockHostTest, ConnectsToAListenersOwnPortWithoutAWord) {
  const Fd host = client(kPort);
  write_all(host, "CONNECT 5000\n");
  const SeenPacket request = hear_one();
  EXPECT_EQ(request.op(), VIRTIO_VSOCK_OP_REQUEST);
  EXPECT_EQ(request.header.dst_port.get(), 7000U);
  say({.op = VIRTIO_VSOCK_OP_RESPONSE, .ports = ports_of(request)});
  EXPECT_EQ(hear_one().text(), "CONNECT 5000\n");
  EXPECT_EQ(read_some(host), "<nothing>");
  say({.ports = ports_of(request), .text = "answer"});
  EXPECT_EQ(read_some(host), "answer");
}

TEST_F(VsockHostTest, EachClientHasAPortOfItsOwn) {
  const Fd one = client();
  const Fd other = client();
  const SeenPacket first = ask(one, "CONNECT 5000\n");
  const SeenPacket second = ask(other, "CONNECT 5000\n");
  EXPECT_NE(ports_of(first), ports_of(second));
}

TEST_F(VsockHostTest, TellsTheGuestOfAClientThatLeft) {
  Fd host = client();
  const SeenPacket request = ask(host, "CONNECT 5000\n");
  host.reset();
  const SeenPacket reset = hear_one();
  EXPECT_EQ(reset.op(), VIRTIO_VSOCK_OP_RST);
  EXPECT_EQ(ports_of(reset), ports_of(request));
}

TEST_F(VsockHostTest, WaitsForASlowLine) {
  const Fd host = client();
  for (const std::string_view part : {"CON", "NECT 50", "00"}) {
    write_all(host, part);
    EXPECT_TRUE(hear().empty());
  }
  EXPECT_EQ(ask(host, "\n").op(), VIRTIO_VSOCK_OP_REQUEST);
}

TEST_F(VsockHostTest, ClosesWhoeverSaysAnythingElse) {
  for (const std::string_view line :
       {"HELLO\n", "CONNECT\n", "CONNECT \n", "CONNECT -1\n", "CONNECT 4294967296\n",
        "CONNECT 5000 \n", "connect 5000\n", "CONNECT 0000000000000000005000\n", "\n"}) {
    const Fd host = client();
    write_all(host, line);
    EXPECT_TRUE(hear().empty()) << line;
    // Whatever it wrote was not read: the end may be told as an error.
    const std::string end = read_some(host);
    EXPECT_TRUE(end == "<end>" || end == "<error>") << line;
  }
  EXPECT_EQ(device_->counts().clients_dropped, 9U);
}

TEST(VsockConnectLine, IsAWordAndAPort) {
  EXPECT_EQ(parse_connect_line("CONNECT 0\n"), 0U);
  EXPECT_EQ(parse_connect_line("CONNECT 4294967295\n"), 4294967295U);
  EXPECT_EQ(parse_connect_line("CONNECT 1"), std::nullopt);
  EXPECT_EQ(parse_connect_line(""), std::nullopt);
}

// ATK-12: the oldest of those that say nothing makes room.
TEST_F(VsockHostTest, DropsTheOldestOfManyWhoSayNothing) {
  std::vector<Fd> clients;
  for (std::size_t i = 0; i < VsockHost::kClientsMost + 10; ++i) {
    clients.push_back(client());
    run_rx();
  }
  EXPECT_EQ(device_->counts().clients_dropped, 10U);
  EXPECT_EQ(read_some(clients[9]), "<end>");
  EXPECT_EQ(read_some(clients[10]), "<nothing>");
  EXPECT_EQ(ask(clients[10], "CONNECT 1\n").op(), VIRTIO_VSOCK_OP_REQUEST);
}

// ATK-12: a guest that never answers bounds how many may wait for it.
TEST_F(VsockHostTest, BoundsWhatWaitsForTheGuest) {
  std::vector<Fd> clients;
  for (std::size_t i = 0; i <= VsockConnections::kHalfOpenMost; ++i) {
    clients.push_back(client());
    write_all(clients.back(), "CONNECT 1\n");
    static_cast<void>(hear());
  }
  EXPECT_EQ(read_some(clients.back()), "<end>");
  EXPECT_EQ(read_some(clients.front()), "<nothing>");
  EXPECT_EQ(device_->counts().half_open, VsockConnections::kHalfOpenMost);
}

// A socket with nothing to do for us must not keep the thread awake.
TEST_F(VsockHostTest, SleepsWhileTheGuestHasNoRoom) {
  const Fd host = connect({.guest = 1, .host = 80}, VIRTIO_VSOCK_TYPE_STREAM, 0);
  write_all(host, "waiting");
  static_cast<void>(hear());
  pollfd event{.fd = rx_->completion_fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&event, 1, 0), 0);
  rx_->want_notifications(true);
  say({.op = VIRTIO_VSOCK_OP_CREDIT_UPDATE, .ports = {.guest = 1, .host = 80}});
  EXPECT_EQ(::poll(&event, 1, 0), 1);
  EXPECT_EQ(hear_one().text(), "waiting");
}

}  // namespace
}  // namespace airlock::device
