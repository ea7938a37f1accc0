// SPDX-License-Identifier: Apache-2.0
//
// Goal: frames go through a stream both ways, and no peer can do more harm than to be disconnected.
// Method: the other end of a socketpair, or of a socket file, is the test, which is slow, dead, or
// lies about lengths.
#include "backend/net/stream_backend.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <thread>

#include <gtest/gtest.h>

#include "backend/net/stream_parser.h"
#include "backend/open_net.h"
#include "testing/net_bench.h"

namespace airlock::backend {
namespace {

using testing::is_readable;
using testing::make_frame;
using testing::NetBench;
using Bytes = std::vector<std::byte>;

Bytes on_the_wire(const Bytes& frame) {
  Bytes bytes;
  for (unsigned shift = 32; shift > 0; shift -= 8)
    bytes.push_back(std::byte(frame.size() >> (shift - 8) & 0xff));
  bytes.insert(bytes.end(), frame.begin(), frame.end());
  return bytes;
}

// The test's end of a stream: blocking.
class Peer {
 public:
  explicit Peer(Fd fd) : fd_(std::move(fd)) { fcntl(fd_.get(), F_SETFL, 0); }

  void write(const Bytes& bytes) const {
    ASSERT_EQ(::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  Bytes read(std::size_t count) const {
    Bytes bytes(count);
    EXPECT_EQ(::recv(fd_.get(), bytes.data(), count, MSG_WAITALL), static_cast<ssize_t>(count));
    return bytes;
  }
  // Whether the other side hung up.
  [[nodiscard]] bool ended() const {
    char byte = 0;
    return ::recv(fd_.get(), &byte, 1, 0) <= 0;
  }
  void close() { fd_.reset(); }

 private:
  Fd fd_;
};

class StreamBackendTest : public ::testing::Test {
 protected:
  StreamBackendTest() { set_log_level(LogLevel::kError); }

  Peer connect() {
    std::array<int, 2> ends{-1, -1};
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) == 0);
    backend_ = MUST(make_stream({.link = {.name = "test", .socket = Fd(ends[0])}}));
    channel_ = MUST(backend_->open_channel());
    return Peer(Fd(ends[1]));
  }

  NetBench bench_;
  std::unique_ptr<NetBackend> backend_;
  std::unique_ptr<NetChannel> channel_;
};

TEST_F(StreamBackendTest, CarriesFramesBothWays) {
  const Peer peer = connect();
  EXPECT_TRUE(backend_->link_up());
  EXPECT_TRUE(bench_.receive(*channel_).empty());
  for (const std::size_t length : {std::size_t{14}, std::size_t{1514}, kNetFrameMax}) {
    const Bytes frame = make_frame(length);
    EXPECT_EQ(bench_.send(*channel_, frame, {}, 3), NetSendResult::kSent);
    channel_->flush();
    EXPECT_EQ(peer.read(length + 4), on_the_wire(frame));
    peer.write(on_the_wire(frame));
    EXPECT_EQ(bench_.await(*channel_), frame);
    EXPECT_TRUE(testing::asks_nothing(bench_.header));
  }
}

TEST_F(StreamBackendTest, SendsManyFramesByOneFlush) {
  const Peer peer = connect();
  for (unsigned i = 0; i < 50; i++)
    EXPECT_EQ(bench_.send(*channel_, make_frame(100, i)), NetSendResult::kSent);
  channel_->flush();
  for (unsigned i = 0; i < 50; i++)
    EXPECT_EQ(peer.read(104), on_the_wire(make_frame(100, i)));
}

TEST_F(StreamBackendTest, CompletesTheChecksumThatTheGuestLeftOut) {
  const Peer peer = connect();
  EXPECT_EQ(backend_->offloads(), spec::feature(spec::VIRTIO_NET_F_CSUM));
  spec::VirtioNetHdr header;
  header.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header.csum_start.set(34);
  header.csum_offset.set(16);
  Bytes frame(60);
  frame[59] = std::byte{1};
  EXPECT_EQ(bench_.send(*channel_, frame, header), NetSendResult::kSent);
  channel_->flush();
  frame[50] = std::byte{0xff};  // ~0x0001
  frame[51] = std::byte{0xfe};
  EXPECT_EQ(peer.read(64), on_the_wire(frame));
}

TEST_F(StreamBackendTest, DropsWhatItCannotSend) {
  const Peer peer = connect();
  spec::VirtioNetHdr header;
  header.gso_type = spec::VIRTIO_NET_HDR_GSO_TCPV4;
  header.gso_size.set(100);
  EXPECT_EQ(bench_.send(*channel_, make_frame(500), header), NetSendResult::kDropped);
  header = {};
  header.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header.csum_start.set(499);
  EXPECT_EQ(bench_.send(*channel_, make_frame(500), header), NetSendResult::kDropped);
  EXPECT_EQ(bench_.send(*channel_, make_frame(13)), NetSendResult::kDropped);
  EXPECT_EQ(bench_.send(*channel_, make_frame(kNetFrameMax + 1)), NetSendResult::kDropped);
  EXPECT_EQ(backend_->counts().unsent, 4U);
  EXPECT_EQ(bench_.send(*channel_, make_frame(500)), NetSendResult::kSent);
  channel_->flush();
  EXPECT_EQ(peer.read(504), on_the_wire(make_frame(500)));
}

// A peer that reads nothing makes us busy, with bounded memory, and what it sends still comes.
TEST_F(StreamBackendTest, ASlowPeerHoldsUpOneDirectionAlone) {
  const Peer peer = connect();
  const Bytes frame = make_frame(kNetFrameMax);
  std::size_t sent = 0;
  while (bench_.send(*channel_, frame) == NetSendResult::kSent) {
    ASSERT_LT(sent, 1000U);
    ++sent;
  }
  EXPECT_FALSE(is_readable(channel_->send_fd(), 0));
  peer.write(on_the_wire(make_frame(60)));
  EXPECT_EQ(bench_.await(*channel_), make_frame(60));
  // It reads again: there is room, and nothing was lost or torn.
  constexpr std::size_t kMore = 3;
  std::atomic<bool> read_all = false;
  std::thread reading([&] {
    for (std::size_t i = 0; i < sent + kMore; i++)
      EXPECT_EQ(peer.read(frame.size() + 4), on_the_wire(frame));
    read_all = true;
  });
  for (std::size_t i = 0; i < kMore; i++) {
    while (bench_.send(*channel_, frame) == NetSendResult::kBusy)
      EXPECT_TRUE(is_readable(channel_->send_fd()));
  }
  do {
    channel_->flush();
    (void)is_readable(channel_->send_fd(), 10);
  } while (!read_all);
  reading.join();
  EXPECT_EQ(backend_->counts().unsent, 0U);
}

TEST_F(StreamBackendTest, TakesAFrameThatComesByteByByte) {
  const Peer peer = connect();
  for (const std::byte byte : on_the_wire(make_frame(40))) {
    EXPECT_TRUE(bench_.receive(*channel_).empty());
    peer.write({byte});
  }
  EXPECT_EQ(bench_.await(*channel_), make_frame(40));
}

class StreamLieTest : public StreamBackendTest,
                      public ::testing::WithParamInterface<std::uint32_t> {};

TEST_P(StreamLieTest, EndsTheConnectionAndNothingElse) {
  std::atomic<int> changes = 0;
  const Peer peer = connect();
  backend_->on_link_change([&] { ++changes; });
  peer.write(on_the_wire(make_frame(60)));
  Bytes lie;
  for (unsigned shift = 32; shift > 0; shift -= 8)
    lie.push_back(std::byte(GetParam() >> (shift - 8) & 0xff));
  lie.resize(100);
  peer.write(lie);
  EXPECT_EQ(bench_.await(*channel_), make_frame(60));
  EXPECT_TRUE(bench_.receive(*channel_).empty());
  EXPECT_TRUE(peer.ended());
  EXPECT_FALSE(backend_->link_up());
  EXPECT_EQ(changes, 1);
  EXPECT_EQ(backend_->counts().malformed, 1U);
  EXPECT_EQ(backend_->counts().disconnects, 1U);
  EXPECT_TRUE(bench_.receive(*channel_).empty());
  EXPECT_EQ(bench_.send(*channel_, make_frame(60)), NetSendResult::kDropped);
  EXPECT_FALSE(is_readable(channel_->receive_fd(), 0));  // there is nothing to wait for
}
INSTANTIATE_TEST_SUITE_P(Lengths, StreamLieTest,
                         ::testing::Values(0U, 13U, 65551U, 0x10000000U, 0xffffffffU));

TEST_F(StreamBackendTest, HearsOfALostPeerFromEitherSide) {
  Peer peer = connect();
  peer.close();
  // What was kept was not known to be lost.
  EXPECT_EQ(bench_.send(*channel_, make_frame(60)), NetSendResult::kSent);
  channel_->flush();
  EXPECT_EQ(bench_.send(*channel_, make_frame(60)), NetSendResult::kDropped);
  EXPECT_TRUE(is_readable(channel_->receive_fd()));
  EXPECT_TRUE(bench_.receive(*channel_).empty());
  EXPECT_FALSE(backend_->link_up());
}

// Each peer gets whole frames only, and the next one nothing of the one before it.
TEST_F(StreamBackendTest, ConnectsAgainToAPeerThatComesBack) {
  std::string folder = (std::filesystem::temp_directory_path() / "airlock-net-XXXXXX").string();
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/s";
  const auto listener = MUST(listen_at(*SocketAddress::from_path(path)));
  backend_ = std::move(*open_net_backend("socket:unix:" + path, {}));
  channel_ = MUST(backend_->open_channel());
  for (unsigned round = 0; round < 5; round++) {
    ASSERT_TRUE(is_readable(listener.get()));
    Peer peer(MUST(own_fd(::accept(listener.get(), nullptr, nullptr))));
    const Bytes frame = make_frame(200, round);
    peer.write(on_the_wire(frame));
    EXPECT_EQ(bench_.await(*channel_), frame);
    EXPECT_TRUE(backend_->link_up());
    EXPECT_EQ(bench_.send(*channel_, frame), NetSendResult::kSent);
    channel_->flush();
    EXPECT_EQ(peer.read(204), on_the_wire(frame));
    peer.write(Bytes(150, std::byte{0}));  // a lie, or half a frame: either way the end
    EXPECT_EQ(bench_.send(*channel_, frame), NetSendResult::kSent);  // never flushed
    peer.close();
    while (backend_->counts().disconnects <= round) {
      ASSERT_TRUE(is_readable(channel_->receive_fd()));
      EXPECT_TRUE(bench_.receive(*channel_).empty());
    }
  }
  std::filesystem::remove_all(folder);
}

TEST_F(StreamBackendTest, ListensForOnePeerAfterTheOther) {
  std::string folder = (std::filesystem::temp_directory_path() / "airlock-net-XXXXXX").string();
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/s";
  backend_ = std::move(*open_net_backend("socket:unix:" + path + ",listen=on", {}));
  channel_ = MUST(backend_->open_channel());
  EXPECT_FALSE(backend_->link_up());
  EXPECT_EQ(bench_.send(*channel_, make_frame(60)), NetSendResult::kDropped);
  for (int round = 0; round < 3; round++) {
    Peer peer(MUST(stream_to(*SocketAddress::from_path(path))()));
    peer.write(on_the_wire(make_frame(60)));
    EXPECT_EQ(bench_.await(*channel_), make_frame(60));
    EXPECT_TRUE(backend_->link_up());
    peer.close();
    while (backend_->link_up()) {
      ASSERT_TRUE(is_readable(channel_->receive_fd()));
      EXPECT_TRUE(bench_.receive(*channel_).empty());
    }
  }
  std::filesystem::remove_all(folder);
}

// Two threads, and a peer that comes and goes: nothing is torn, nobody hangs.
TEST_F(StreamBackendTest, TwoThreadsSurviveAPeerThatFlaps) {
  std::string folder = (std::filesystem::temp_directory_path() / "airlock-net-XXXXXX").string();
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/s";
  const auto listener = MUST(listen_at(*SocketAddress::from_path(path)));
  backend_ = std::move(*open_net_backend("socket:unix:" + path, {}));
  channel_ = MUST(backend_->open_channel());
  std::atomic<bool> over = false;
  std::thread sending([&] {
    const NetBench bench;
    while (!over) {
      if (bench.send(*channel_, make_frame(1000)) == NetSendResult::kBusy) {
        (void)is_readable(channel_->send_fd(), 10);
      }
      channel_->flush();
    }
  });
  std::thread receiving([&] {
    while (!over) {
      const Bytes frame = bench_.receive(*channel_);
      if (frame.empty()) {
        (void)is_readable(channel_->receive_fd(), 10);
      } else {
        EXPECT_EQ(frame, make_frame(500));
      }
    }
  });
  for (int round = 0; round < 10; round++) {
    ASSERT_TRUE(is_readable(listener.get()));
    const Peer peer(MUST(own_fd(::accept(listener.get(), nullptr, nullptr))));
    for (int i = 0; i < 20; i++) {
      peer.write(on_the_wire(make_frame(500)));
      EXPECT_EQ(peer.read(1004), on_the_wire(make_frame(1000)));
    }
  }
  over = true;
  sending.join();
  receiving.join();
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace airlock::backend
