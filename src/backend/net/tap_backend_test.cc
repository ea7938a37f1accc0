// SPDX-License-Identifier: Apache-2.0
//
// A tap interface of this kernel: frames and headers both ways, queues, offloads, an interface that
// is taken away. Needs root and /dev/net/tun; it is in a network namespace of its own.
#include "backend/net/tap_backend.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include <gtest/gtest.h>

#include "base/log.h"
#include "testing/net_bench.h"

namespace airlock::backend {
namespace {

using testing::is_readable;
using testing::NetBench;
using Bytes = std::vector<std::byte>;

// A protocol that nobody speaks, so that the host does not either.
constexpr std::uint16_t kProtocol = 0x88b5;

// An Ethernet frame of it, to everybody.
Bytes frame_of(std::size_t length, unsigned seed) {
  Bytes frame(length, std::byte(seed));
  std::fill_n(frame.begin(), 6, std::byte{0xff});
  frame[6] = std::byte{0x02};
  frame[12] = std::byte{kProtocol >> 8};
  frame[13] = std::byte{kProtocol & 0xff};
  return frame;
}

class TapBackendTest : public ::testing::Test {
 protected:
  void SetUp() override {
    set_log_level(LogLevel::kError);
    if (geteuid() != 0 || access("/dev/net/tun", R_OK | W_OK) != 0) {
      GTEST_SKIP() << "it takes root, and /dev/net/tun";
    }
    if (unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "it takes a network namespace";
    const Fd probe(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    if (!probe) GTEST_SKIP() << "the kernel has no tun";
  }

  void open(std::uint16_t channels = 1) {
    auto opened = open_tap({.name = "airtap0", .channels = channels});
    ASSERT_TRUE(opened) << opened.error().text();
    backend_ = std::move(*opened);
    for (std::uint16_t i = 0; i < channels; i++)
      channels_.push_back(MUST(backend_->open_channel()));
    control_ = MUST(own_fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(kProtocol))));
    up();
  }
  void up() const {
    ifreq request{};
    std::strcpy(request.ifr_name, "airtap0");  // tidy: allow string because it is a test's
    ASSERT_EQ(::ioctl(control_.get(), SIOCGIFFLAGS, &request), 0);
    request.ifr_flags |= IFF_UP;
    ASSERT_EQ(::ioctl(control_.get(), SIOCSIFFLAGS, &request), 0);
    ASSERT_EQ(::ioctl(control_.get(), SIOCGIFINDEX, &request), 0);
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(kProtocol);
    address.sll_ifindex = request.ifr_ifindex;
    ASSERT_EQ(::bind(control_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  // The host's side of the interface.
  void host_sends(const Bytes& frame) const {
    ASSERT_EQ(::send(control_.get(), frame.data(), frame.size(), 0),
              static_cast<ssize_t>(frame.size()));
  }
  Bytes host_receives() const {
    Bytes frame(kNetFrameMax);
    if (!is_readable(control_.get())) return {};
    const ssize_t got = ::recv(control_.get(), frame.data(), frame.size(), 0);
    frame.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    return frame;
  }
  // The next frame of the protocol, whatever else the host says.
  Bytes await(NetChannel& channel) {
    for (;;) {
      Bytes frame = bench_.await(channel);
      if (frame.empty()) return frame;
      if (frame[12] == std::byte{kProtocol >> 8} && frame[13] == std::byte{kProtocol & 0xff}) {
        return frame;
      }
    }
  }

  NetBench bench_;
  std::unique_ptr<NetBackend> backend_;
  std::vector<std::unique_ptr<NetChannel>> channels_;
  Fd control_;
};

TEST_F(TapBackendTest, CarriesFramesBothWays) {
  open();
  EXPECT_EQ(backend_->mtu(), 1500);
  EXPECT_TRUE(backend_->link_up());
  for (const std::size_t length : {std::size_t{60}, std::size_t{1514}}) {
    EXPECT_EQ(bench_.send(*channels_[0], frame_of(length, 1), {}, 5), NetSendResult::kSent);
    EXPECT_EQ(host_receives(), frame_of(length, 1));
    host_sends(frame_of(length, 2));
    EXPECT_EQ(await(*channels_[0]), frame_of(length, 2));
  }
  // More pieces than one system call takes.
  EXPECT_EQ(bench_.send(*channels_[0], frame_of(1514, 3), {}, 100), NetSendResult::kSent);
  EXPECT_EQ(host_receives(), frame_of(1514, 3));
}

TEST_F(TapBackendTest, DropsWhatTheKernelWouldNotTake) {
  open();
  spec::VirtioNetHdr unknown;
  unknown.gso_type = 0x7f;
  unknown.gso_size.set(10);
  EXPECT_EQ(bench_.send(*channels_[0], frame_of(60, 1), unknown), NetSendResult::kDropped);
  EXPECT_EQ(bench_.send(*channels_[0], Bytes(13)), NetSendResult::kDropped);
  EXPECT_EQ(backend_->counts().unsent, 2U);
  EXPECT_EQ(bench_.send(*channels_[0], frame_of(60, 1)), NetSendResult::kSent);
}

TEST_F(TapBackendTest, HasTheKernelCompleteAChecksum) {
  open();
  spec::VirtioNetHdr header;
  header.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header.csum_start.set(34);
  header.csum_offset.set(16);
  EXPECT_EQ(bench_.send(*channels_[0], frame_of(60, 1), header), NetSendResult::kSent);
  EXPECT_EQ(host_receives().size(), 60U);
  EXPECT_NE(backend_->offloads() & spec::feature(spec::VIRTIO_NET_F_CSUM), 0U);
  EXPECT_TRUE(backend_->set_guest_offloads(spec::feature(spec::VIRTIO_NET_F_GUEST_CSUM) |
                                           spec::feature(spec::VIRTIO_NET_F_GUEST_TSO4)));
  EXPECT_TRUE(backend_->set_guest_offloads(0));
}

TEST_F(TapBackendTest, SpreadsFramesOverTheChannelsInUse) {
  open(3);
  ASSERT_TRUE(backend_->use_channels(1));
  for (unsigned i = 0; i < 8; i++) {
    host_sends(frame_of(60, i));
    EXPECT_EQ(await(*channels_[0]), frame_of(60, i));
  }
  // Those that are out of use sleep, and have nothing.
  EXPECT_FALSE(is_readable(channels_[1]->receive_fd(), 0));
  EXPECT_TRUE(bench_.receive(*channels_[1]).empty());
  EXPECT_TRUE(backend_->link_up());
  ASSERT_TRUE(backend_->use_channels(3));
  EXPECT_EQ(bench_.send(*channels_[2], frame_of(60, 9)), NetSendResult::kSent);
  EXPECT_EQ(host_receives(), frame_of(60, 9));
  ASSERT_TRUE(backend_->use_channels(2));
  ASSERT_TRUE(backend_->use_channels(1));
  host_sends(frame_of(60, 9));
  EXPECT_EQ(await(*channels_[0]), frame_of(60, 9));
}

TEST_F(TapBackendTest, SaysWhenTheInterfaceIsInUse) {
  open();
  const auto second = open_tap({.name = "airtap0"});
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().text().find("Device or resource busy"), std::string::npos)
      << second.error().text();
}

}  // namespace
}  // namespace airlock::backend
