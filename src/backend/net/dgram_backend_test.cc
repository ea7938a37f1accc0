// SPDX-License-Identifier: Apache-2.0
// Frames as datagrams, to a file and to an address; peers that send what is no frame, or go away.
#include "backend/net/dgram_backend.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>

#include <gtest/gtest.h>

#include "backend/open_net.h"
#include "testing/net_bench.h"

namespace airlock::backend {
namespace {

using testing::is_readable;
using testing::make_frame;
using testing::NetBench;
using Bytes = std::vector<std::byte>;

class DgramBackendTest : public ::testing::Test {
 protected:
  DgramBackendTest() {
    set_log_level(LogLevel::kError);
    std::string name = (std::filesystem::temp_directory_path() / "airlock-net-XXXXXX").string();
    CHECK(mkdtemp(name.data()) != nullptr);
    folder_ = name;
  }
  ~DgramBackendTest() override { std::filesystem::remove_all(folder_); }

  Fd bind_peer() const {
    Fd socket = MUST(own_fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)));
    std::filesystem::remove(folder_ / "peer");
    MUST(SocketAddress::from_path((folder_ / "peer").string())->bind(socket));
    return socket;
  }
  void open() {
    const std::string text =
        "socket:dgram:" + (folder_ / "peer").string() + ",local=" + (folder_ / "own").string();
    auto opened = open_net_backend(text, {});
    ASSERT_TRUE(opened) << opened.error().text();
    backend_ = std::move(*opened);
    channel_ = MUST(backend_->open_channel());
  }
  void send_from(const Fd& peer, const Bytes& bytes) const {
    MUST(SocketAddress::from_path((folder_ / "own").string())->connect(peer));
    ASSERT_EQ(::send(peer.get(), bytes.data(), bytes.size(), 0),
              static_cast<ssize_t>(bytes.size()));
  }
  static Bytes take(const Fd& peer) {
    Bytes bytes(kNetFrameMax);
    const ssize_t got = ::recv(peer.get(), bytes.data(), bytes.size(), 0);
    bytes.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    return bytes;
  }
  void await_link() {
    while (!backend_->link_up()) {
      ASSERT_TRUE(is_readable(channel_->receive_fd()));
      EXPECT_TRUE(bench_.receive(*channel_).empty());
    }
  }

  std::filesystem::path folder_;
  NetBench bench_;
  std::unique_ptr<NetBackend> backend_;
  std::unique_ptr<NetChannel> channel_;
};

TEST_F(DgramBackendTest, CarriesFramesBothWays) {
  const Fd peer = bind_peer();
  open();
  EXPECT_EQ(bench_.send(*channel_, make_frame(1514), {}, 4), NetSendResult::kSent);
  EXPECT_EQ(take(peer), make_frame(1514));
  send_from(peer, make_frame(60));
  EXPECT_EQ(bench_.await(*channel_), make_frame(60));
}

TEST_F(DgramBackendTest, DropsDatagramsThatAreNoFrames) {
  const Fd peer = bind_peer();
  open();
  for (const std::size_t length : {std::size_t{0}, std::size_t{13}, kNetFrameMax + 1})
    send_from(peer, make_frame(length));
  send_from(peer, make_frame(60));
  EXPECT_EQ(bench_.await(*channel_), make_frame(60));
  EXPECT_EQ(backend_->counts().malformed, 3U);
  EXPECT_TRUE(backend_->link_up());
}

TEST_F(DgramBackendTest, WaitsForAPeerThatIsNotThereYetAndForTheNextOne) {
  open();
  EXPECT_FALSE(backend_->link_up());
  EXPECT_EQ(bench_.send(*channel_, make_frame(60)), NetSendResult::kDropped);
  for (unsigned round = 1; round <= 3; round++) {
    const Fd peer = bind_peer();
    await_link();
    EXPECT_EQ(bench_.send(*channel_, make_frame(100 * round)), NetSendResult::kSent);
    EXPECT_EQ(take(peer), make_frame(100 * round));
    std::filesystem::remove(folder_ / "peer");
    // The socket is closed with this round; whichever side notices first.
    const Fd last = MUST(peer.duplicate());
    static_cast<void>(::shutdown(last.get(), SHUT_RD));
    while (backend_->counts().disconnects < round) {
      if (bench_.send(*channel_, make_frame(60)) == NetSendResult::kSent) break;
      static_cast<void>(bench_.receive(*channel_));
    }
    if (backend_->counts().disconnects < round) break;
  }
}

TEST_F(DgramBackendTest, IsBusyWhileThePeerReadsNothing) {
  const Fd peer = bind_peer();
  open();
  int sent = 0;
  while (bench_.send(*channel_, make_frame(1000)) == NetSendResult::kSent) {
    ASSERT_LT(sent, 100'000);
    ++sent;
  }
  EXPECT_EQ(bench_.send(*channel_, make_frame(1000)), NetSendResult::kBusy);
  EXPECT_FALSE(is_readable(channel_->send_fd(), 0));
  for (int i = 0; i < sent; i++)
    EXPECT_EQ(take(peer), make_frame(1000));
  EXPECT_TRUE(is_readable(channel_->send_fd()));
  EXPECT_EQ(bench_.send(*channel_, make_frame(1000)), NetSendResult::kSent);
}

// A port that nobody is bound to is no loss: the answer of its host may be a lie, too.
TEST_F(DgramBackendTest, TalksToAnAddressThatMayRefuse) {
  const auto port = [](const Fd& socket) {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    CHECK(getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    return ntohs(address.sin_port);
  };
  const auto bound = [] {
    Fd socket = MUST(own_fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    return socket;
  };
  Fd peer = bound();
  Fd other = bound();
  const unsigned own_port = port(other);
  other.reset();
  const std::string text =
      fmt::format("socket:udp:127.0.0.1:{},local=127.0.0.1:{}", port(peer), own_port);
  auto opened = open_net_backend(text, {});
  ASSERT_TRUE(opened) << opened.error().text();
  backend_ = std::move(*opened);
  channel_ = MUST(backend_->open_channel());
  EXPECT_EQ(bench_.send(*channel_, make_frame(1400)), NetSendResult::kSent);
  EXPECT_EQ(take(peer), make_frame(1400));
  MUST(SocketAddress::from_ip(fmt::format("127.0.0.1:{}", own_port))->connect(peer));
  EXPECT_EQ(::send(peer.get(), make_frame(60).data(), 60, 0), 60);
  EXPECT_EQ(bench_.await(*channel_), make_frame(60));
  peer.reset();
  for (int i = 0; i < 4; i++)
    static_cast<void>(bench_.send(*channel_, make_frame(60)));
  EXPECT_TRUE(bench_.receive(*channel_).empty());
  EXPECT_TRUE(backend_->link_up());
}

}  // namespace
}  // namespace airlock::backend
