// SPDX-License-Identifier: Apache-2.0
#include "device/vsock/vsock_device.h"

#include <sys/resource.h>

#include <gtest/gtest.h>

#include "device/vsock/vsock_region.h"
#include "shm/sealed_memfd.h"
#include "testing/vsock_fixture.h"

namespace airlock::device {
namespace {

using testing::FakeConnector;
using testing::VsockFixture;
using namespace spec;  // NOLINT(google-build-using-namespace): the names of the wire

VsockDevice::Options options_with(std::uint32_t cid, std::uint16_t queue_size = 64) {
  VsockDevice::Options options;
  options.guest_cid = cid;
  options.queue_size = queue_size;
  options.connector = std::make_unique<FakeConnector>();
  return options;
}

// VIRTIO 1.3, 5.10.2, 5.10.4: three queues, and a cid whose upper half is zero.
TEST(VsockDevice, SaysWhatItIs) {
  const auto device = MUST(VsockDevice::create(options_with(52)));
  EXPECT_EQ(device->virtio_id(), 19U);
  EXPECT_EQ(device->queue_count(), 3U);
  EXPECT_EQ(device->queue_size_max(2), 64U);
  EXPECT_EQ(device->queue_size_max(3), 0U);
  ASSERT_EQ(device->config().size(), 8U);
  EXPECT_EQ(device->config()[0], std::byte{52});
  EXPECT_EQ(device->config()[4], std::byte{0});
}

// VIRTIO 1.3, 5.10.6.4.2: the guest's cid is none of the reserved ones.
TEST(VsockDevice, HasNoReservedCid) {
  for (const std::uint32_t cid : {0U, 1U, 2U, 0xffffffffU})
    EXPECT_EQ(VsockDevice::create(options_with(cid)).error().code, Errc::kOutOfRange) << cid;
  EXPECT_TRUE(VsockDevice::create(options_with(3)).has_value());
  EXPECT_TRUE(VsockDevice::create(options_with(0xfffffffe)).has_value());
}

TEST(VsockDevice, RefusesSizesThatNoQueueHas) {
  for (const std::uint16_t size : {std::uint16_t{0}, std::uint16_t{1}, std::uint16_t{100}})
    EXPECT_EQ(VsockDevice::create(options_with(3, size)).error().code, Errc::kBadQueueSize);
}

TEST(VsockRegion, HasRoomForEveryBufferOfADriver) {
  EXPECT_EQ(vsock_region_bytes_min(256), std::uint64_t{2} << 20U);
  EXPECT_GT(vsock_region_bytes_min(1024), 1024U * 4096U);
}

using VsockFeatures = VsockFixture;

// VIRTIO 1.3, 5.10.3, 5.10.3.2: the device offers NO_IMPLIED_STREAM, and without a word about
// types, or with seqpacket alone in the old way, streams are in use.
TEST_F(VsockFeatures, StreamsAreInUseWithoutAWord) {
  EXPECT_NE(device_->features() & feature(VIRTIO_VSOCK_F_NO_IMPLIED_STREAM), 0U);
  open(0);
  const Fd host = connect();
  say({.text = "x"});
  EXPECT_EQ(read_some(host), "x");
}

// ATK-14: a type that was not agreed upon is unknown.
TEST_F(VsockFeatures, SeqpacketIsUnknownWithoutItsFeature) {
  open(feature(VIRTIO_VSOCK_F_STREAM));
  connector_->listening[80] = true;
  say({.op = VIRTIO_VSOCK_OP_REQUEST, .type = VIRTIO_VSOCK_TYPE_SEQPACKET});
  EXPECT_EQ(hear_one().op(), VIRTIO_VSOCK_OP_RST);
}

TEST_F(VsockFeatures, StreamsAreUnknownWhereTheyAreNotImplied) {
  open(feature(VIRTIO_VSOCK_F_SEQPACKET) | feature(VIRTIO_VSOCK_F_NO_IMPLIED_STREAM));
  connector_->listening[80] = true;
  say({.op = VIRTIO_VSOCK_OP_REQUEST});
  EXPECT_EQ(hear_one().op(), VIRTIO_VSOCK_OP_RST);
  const Fd host = connect({.guest = 1, .host = 80}, VIRTIO_VSOCK_TYPE_SEQPACKET);
}

using VsockEvents = VsockFixture;

// VIRTIO 1.3, 5.10.6.7: a process that takes another's place has none of its connections.
TEST_F(VsockEvents, TellsTheDriverThatConnectionsAreGone) {
  open();
  const auto memory = MUST(shm::SealedMemfd::create({.name = "record", .size = 4096}));
  const auto mapping = MUST(memory.map());
  QueueContext context = context_of(event_ring_, VIRTIO_VSOCK_QUEUE_EVENT);
  context.record = ring::QueueRecord(MUST(mapping.bytes().slice(0, sizeof(VirtqState))));
  const auto first = MUST(device_->make_queue(context));
  const auto buffer = testing::ChainBuilder(event_ring_).writable(4).submit();
  EXPECT_FALSE(MUST(first->poll()));  // nothing happened yet
  const auto second = MUST(device_->make_queue(context));
  region_.bytes().copy_in(std::to_underlying(buffer.pieces()[0].offset),
                          std::vector<std::byte>(4, std::byte{9}));
  EXPECT_TRUE(MUST(second->poll()));
  EXPECT_EQ(buffer.written(), std::vector<std::byte>(4));
  EXPECT_EQ(event_ring_.take_used()->length, 4U);
  EXPECT_FALSE(MUST(second->poll()));
}

TEST_F(VsockEvents, AnEventWithoutRoomBreaksTheQueue) {
  open();
  const auto memory = MUST(shm::SealedMemfd::create({.name = "record", .size = 4096}));
  const auto mapping = MUST(memory.map());
  QueueContext context = context_of(event_ring_, VIRTIO_VSOCK_QUEUE_EVENT);
  context.record = ring::QueueRecord(MUST(mapping.bytes().slice(0, sizeof(VirtqState))));
  static_cast<void>(MUST(device_->make_queue(context)));
  const auto task = MUST(device_->make_queue(context));
  testing::ChainBuilder(event_ring_).writable(3).submit();
  EXPECT_EQ(task->poll().error().code, Errc::kTooSmall);
}

/// As many as there can be. Most have a host of their own; where descriptors are few, the last ones
/// share one.
class VsockMany : public VsockFixture {
 protected:
  static constexpr std::uint32_t kMost = 10000;
  static constexpr std::uint32_t kOwnHosts = 9000;

  VsockMany() {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    enough_ = limit.rlim_cur >= kMost + kOwnHosts + 100;
    VsockDevice::Options options;
    options.connections_most = kMost;
    make_device(std::move(options));
    open();
  }
  void connect_all() {
    for (std::uint32_t i = 0; i < kOwnHosts; ++i)
      hosts_.push_back(connect({.guest = i, .host = 80}));
    std::array<int, 2> ends{-1, -1};
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()), 0);
    connector_->shared = Fd(ends[0]);
    shared_ = Fd(ends[1]);
    for (std::uint32_t i = kOwnHosts; i < kMost; ++i) {
      say({.op = VIRTIO_VSOCK_OP_REQUEST, .ports = {.guest = i, .host = 80}});
      EXPECT_EQ(hear_one().op(), VIRTIO_VSOCK_OP_RESPONSE);
    }
  }
  bool enough_ = false;
  std::vector<Fd> hosts_;
  Fd shared_;
};

TEST_F(VsockMany, TenThousandConnections) {
  if (!enough_) GTEST_SKIP() << "not enough descriptors here";
  connect_all();
  EXPECT_EQ(device_->counts().connections, kMost);
  // 5.10.6.5: insufficient resources for one more.
  say({.op = VIRTIO_VSOCK_OP_REQUEST, .ports = {.guest = kMost, .host = 80}});
  EXPECT_EQ(hear_one().op(), VIRTIO_VSOCK_OP_RST);
  for (std::uint32_t i = 0; i < kMost; ++i) {
    const std::string text = std::to_string(i);
    say({.ports = {.guest = i, .host = 80}, .text = text});
    EXPECT_EQ(read_some(i < kOwnHosts ? hosts_[i] : shared_), text);
    if (i < kOwnHosts) write_all(hosts_[i], text);
  }
  const auto packets = hear();
  ASSERT_EQ(packets.size(), kOwnHosts);
  for (const auto& packet : packets)
    EXPECT_EQ(packet.text(), std::to_string(packet.header.dst_port.get()));
  for (std::uint32_t i = 0; i < kMost; ++i)
    say({.op = VIRTIO_VSOCK_OP_RST, .ports = {.guest = i, .host = 80}});
  EXPECT_EQ(device_->counts().connections, 0U);
  EXPECT_TRUE(hear().empty());
}

}  // namespace
}  // namespace airlock::device
