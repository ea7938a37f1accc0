// SPDX-License-Identifier: Apache-2.0
// A network card as its driver sees it: queues, commands and what they change, resets, its link.
#include "device/net/net_device.h"

#include <gtest/gtest.h>

#include <array>

#include "spec/pci.h"
#include "testing/net_rig.h"

namespace airlock::device {
namespace {

using testing::BuiltChain;
using testing::frame_to;
using testing::NetRig;

constexpr MacAddress kNewMac = {2, 0, 0, 0, 0, 5};
constexpr std::uint8_t kOk = spec::VIRTIO_NET_OK;
constexpr std::uint8_t kErr = spec::VIRTIO_NET_ERR;

/// The data of a switch that is turned on.
std::span<const std::byte> switch_on() {
  static constexpr std::array<std::byte, 1> kOn = {std::byte{1}};
  return kOn;
}

std::uint64_t receives(NetRig& rig, std::vector<std::byte> frame) {
  const std::uint64_t before = rig.device().counts(0).received;
  rig.give_buffer(2048);
  rig.network().arrive(0, {.header = {}, .bytes = std::move(frame)});
  MUST(rig.run(0));
  return rig.device().counts(0).received - before;
}

Result<std::unique_ptr<NetDevice>> try_create(const NetShape& shape) {
  return NetDevice::create({.backend = std::make_unique<testing::FakeNetBackend>(
                                std::make_shared<testing::FakeNetwork>()),
                            .shape = shape,
                            .ring_features = 0});
}

TEST(NetDevice, IsANetworkCard) {
  NetRig rig;
  EXPECT_EQ(rig.device().virtio_id(), spec::VIRTIO_ID_NET);
  EXPECT_EQ(rig.device().pci_class(), spec::PCI_CLASS_NETWORK_ETHERNET);
  EXPECT_EQ(rig.device().queue_count(), 3);
  EXPECT_EQ(rig.device().queue_size_max(2), NetRig::kSlots);
  EXPECT_EQ(rig.device().queue_size_max(3), 0);
  EXPECT_EQ(rig.device().config().size(), kNetConfigBytes);
  EXPECT_TRUE(rig.device().accepts(rig.device().features()));
  EXPECT_FALSE(
      rig.device().accepts(rig.device().features() & ~spec::feature(spec::VIRTIO_NET_F_CTRL_VQ)));
}

TEST(NetDevice, IsMadeOnlyInPossibleShapes) {
  EXPECT_TRUE(try_create({.pairs = 4, .queue_size = 512, .mtu = 68}));
  EXPECT_EQ(try_create({.queue_size = 8}).error().code, Errc::kBadQueueSize);
  EXPECT_EQ(try_create({.queue_size = 1024}).error().code, Errc::kBadQueueSize);
  EXPECT_EQ(try_create({.queue_size = 100}).error().code, Errc::kBadQueueSize);
  EXPECT_EQ(try_create({.pairs = 0}).error().code, Errc::kOutOfRange);
  EXPECT_EQ(try_create({.pairs = 5}).error().code, Errc::kOutOfRange);  // it has 4 channels
  EXPECT_EQ(try_create({.mtu = 67}).error().code, Errc::kOutOfRange);   // 5.1.4.1
}

// VIRTIO 1.3, 5.1.2: where the control queue is depends on what was negotiated.
TEST(NetDevice, QueuesAreWhereTheDriverExpectsThem) {
  NetRig rig({.pairs = 3});
  rig.start();
  EXPECT_EQ(rig.control_queue(), 6);
  EXPECT_EQ(rig.ack_of(spec::VIRTIO_NET_CTRL_RX, spec::VIRTIO_NET_CTRL_RX_PROMISC, std::uint8_t{1}),
            kOk);
  rig.stop();
  rig.start_without(spec::VIRTIO_NET_F_MQ);
  EXPECT_EQ(rig.control_queue(), 2);
  EXPECT_EQ(rig.ack_of(spec::VIRTIO_NET_CTRL_RX, spec::VIRTIO_NET_CTRL_RX_PROMISC, std::uint8_t{1}),
            kOk);
  const auto beyond =
      rig.try_make(3, rig.device().features() & ~spec::feature(spec::VIRTIO_NET_F_MQ));
  ASSERT_FALSE(beyond);
  EXPECT_EQ(beyond.error().code, Errc::kBadIndex);
  EXPECT_EQ(beyond.error().queue, 3);
}

TEST(NetDevice, WithoutTheFeatureThereIsNoControlQueue) {
  NetRig rig;
  const auto made = rig.try_make(2, spec::feature(spec::VIRTIO_NET_F_MAC));
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Errc::kBadIndex);
}

// VIRTIO 1.3, 5.1.6.5.2.1: filter and configuration are changed before the command is used.
TEST(NetDevice, TakesANewAddress) {
  NetRig rig;
  rig.start();
  EXPECT_EQ(receives(rig, frame_to(kNewMac, 60)), 0U);
  EXPECT_EQ(rig.ack_of(spec::VIRTIO_NET_CTRL_MAC, spec::VIRTIO_NET_CTRL_MAC_ADDR_SET, kNewMac),
            kOk);
  EXPECT_EQ(rig.config().mac[5], 5);
  EXPECT_EQ(receives(rig, frame_to(kNewMac, 60)), 1U);
  EXPECT_EQ(receives(rig, frame_to(NetRig::kMac, 60)), 0U);
  EXPECT_EQ(rig.device().counts(2).commands, 1U);
}

TEST(NetDevice, WithoutAnAddressOfOursTheConfigurationStays) {
  NetRig rig;
  rig.start_without(spec::VIRTIO_NET_F_MAC);
  EXPECT_EQ(rig.ack_of(spec::VIRTIO_NET_CTRL_MAC, spec::VIRTIO_NET_CTRL_MAC_ADDR_SET, kNewMac),
            kOk);
  EXPECT_EQ(rig.config().mac[5], NetRig::kMac[5]);
}

// Each command of VIRTIO 1.3, 5.1.6.5.1 to 5.1.6.5.3 does what it says.
TEST(NetDevice, CommandsChangeTheFilter) {
  NetRig rig;
  rig.start();
  const auto turn = [&](std::uint8_t which, std::uint8_t on) {
    EXPECT_EQ(rig.ack_of(spec::VIRTIO_NET_CTRL_RX, which, on), kOk);
  };
  const MacAddress group = {1, 0, 0x5e, 0, 0, 1};
  const MacAddress all = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  EXPECT_EQ(receives(rig, frame_to(group, 60)), 0U);
  turn(spec::VIRTIO_NET_CTRL_RX_ALLMULTI, 1);
  EXPECT_EQ(receives(rig, frame_to(group, 60)), 1U);
  turn(spec::VIRTIO_NET_CTRL_RX_NOMULTI, 1);
  EXPECT_EQ(receives(rig, frame_to(group, 60)), 0U);
  turn(spec::VIRTIO_NET_CTRL_RX_ALLUNI, 1);
  EXPECT_EQ(receives(rig, frame_to(kNewMac, 60)), 1U);
  turn(spec::VIRTIO_NET_CTRL_RX_NOUNI, 1);
  EXPECT_EQ(receives(rig, frame_to(NetRig::kMac, 60)), 0U);
  EXPECT_EQ(receives(rig, frame_to(all, 60)), 1U);
  turn(spec::VIRTIO_NET_CTRL_RX_NOBCAST, 1);
  EXPECT_EQ(receives(rig, frame_to(all, 60)), 0U);
  turn(spec::VIRTIO_NET_CTRL_RX_PROMISC, 1);
  EXPECT_EQ(receives(rig, frame_to(all, 60)), 1U);
  turn(spec::VIRTIO_NET_CTRL_RX_PROMISC, 0);
  EXPECT_EQ(receives(rig, frame_to(all, 60)), 0U);
}

TEST(NetDevice, CommandsChangeTheTables) {
  NetRig rig;
  rig.start();
  const std::array<std::uint8_t, 14> one_unicast = {1, 0, 0, 0, 2, 0, 0, 0, 0, 5, 0, 0, 0, 0};
  const std::array<std::uint8_t, 8> none = {};
  EXPECT_EQ(rig.ack_of(spec::VIRTIO_NET_CTRL_MAC, spec::VIRTIO_NET_CTRL_MAC_TABLE_SET, one_unicast),
            kOk);
  EXPECT_EQ(receives(rig, frame_to(kNewMac, 60)), 1U);
  EXPECT_EQ(rig.ack_of(spec::VIRTIO_NET_CTRL_MAC, spec::VIRTIO_NET_CTRL_MAC_TABLE_SET, none), kOk);
  EXPECT_EQ(receives(rig, frame_to(kNewMac, 60)), 0U);

  std::vector<std::byte> tagged = frame_to(NetRig::kMac, 60);
  tagged[12] = std::byte{0x81};
  tagged[13] = std::byte{0};
  tagged[14] = std::byte{0};
  tagged[15] = std::byte{7};
  EXPECT_EQ(receives(rig, tagged), 0U);
  EXPECT_EQ(rig.ack_of(spec::VIRTIO_NET_CTRL_VLAN, spec::VIRTIO_NET_CTRL_VLAN_ADD, Le16(7)), kOk);
  EXPECT_EQ(receives(rig, tagged), 1U);
  EXPECT_EQ(rig.ack_of(spec::VIRTIO_NET_CTRL_VLAN, spec::VIRTIO_NET_CTRL_VLAN_DEL, Le16(7)), kOk);
  EXPECT_EQ(receives(rig, tagged), 0U);
}

TEST(NetDevice, AnswersWhatBreaksARuleWithAnError) {
  NetRig rig;
  rig.start();
  EXPECT_EQ(rig.ack_of(0x77, 0, std::uint8_t{0}), kErr);
  EXPECT_EQ(rig.ack_of(spec::VIRTIO_NET_CTRL_RX, spec::VIRTIO_NET_CTRL_RX_PROMISC, std::uint8_t{2}),
            kErr);
  EXPECT_EQ(rig.device().counts(2).refused, 2U);
  EXPECT_EQ(rig.device().counts(2).commands, 0U);
}

// ATK-5.
TEST(NetDevice, ACommandWithoutAnAckBreaksItsQueueAlone) {
  NetRig rig;
  rig.start();
  testing::ChainBuilder(rig.ring(2)).readable_struct(spec::VirtioNetCtrlHdr{}).submit();
  const auto broken = rig.run(2);
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().code, Errc::kTooSmall);
  EXPECT_EQ(broken.error().queue, 2);
  rig.task(2).drain(true);
  EXPECT_EQ(rig.task(2).in_flight(), 0U);
  EXPECT_EQ(receives(rig, frame_to(NetRig::kMac, 60)), 1U);
}

// VIRTIO 1.3, 5.1.6.5.8.1: all that was negotiated is on at first.
TEST(NetDevice, OffloadsFollowTheDriver) {
  NetRig rig;
  const std::uint64_t features =
      rig.device().features() & ~spec::feature(spec::VIRTIO_NET_F_GUEST_USO4);
  rig.start(features);
  EXPECT_EQ(rig.network().guest_offloads, features & kNetGuestOffloads);
  const std::uint64_t some = spec::feature(spec::VIRTIO_NET_F_GUEST_CSUM);
  EXPECT_EQ(rig.ack_of(spec::VIRTIO_NET_CTRL_GUEST_OFFLOADS,
                       spec::VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, Le64(some)),
            kOk);
  EXPECT_EQ(rig.network().guest_offloads, some);
  // What a backend still gives of the others is held back.
  rig.give_buffer(8192);
  rig.network().arrive(0,
                       {.header = testing::net_header({.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                                       .gso_type = spec::VIRTIO_NET_HDR_GSO_TCPV4,
                                                       .gso_size = 1000,
                                                       .csum_start = 34,
                                                       .csum_offset = 16}),
                        .bytes = frame_to(NetRig::kMac, 3000)});
  ASSERT_TRUE(rig.run(0));
  EXPECT_EQ(rig.device().counts(0).unfit, 1U);
}

TEST(NetDevice, ABackendThatCannotIsAnError) {
  NetRig rig({.pairs = 2});
  rig.start();
  rig.network().offloads_error = system_error(EIO);
  EXPECT_EQ(rig.ack_of(spec::VIRTIO_NET_CTRL_GUEST_OFFLOADS,
                       spec::VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, Le64(0)),
            kErr);
  rig.network().channels_error = system_error(EIO);
  EXPECT_EQ(rig.ack_of(spec::VIRTIO_NET_CTRL_MQ, spec::VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, Le16(2)),
            kErr);
  rig.stop();
  EXPECT_FALSE(rig.try_make(0, rig.device().features()));
}

// One command at a time, each answered when the control thread is done with it.
TEST(NetDevice, AnswersWhenACommandIsCarriedOut) {
  NetRig rig;
  rig.start();
  rig.hold_posts = true;
  rig.command(spec::VIRTIO_NET_CTRL_MAC, spec::VIRTIO_NET_CTRL_MAC_ADDR_SET,
              std::as_bytes(std::span(kNewMac)));
  rig.command(0x77, 0, {});
  ASSERT_TRUE(rig.run(2));
  EXPECT_EQ(rig.ring(2).used_index(), 0);
  EXPECT_EQ(rig.task(2).in_flight(), 1U);
  rig.run_posts();
  EXPECT_EQ(rig.config().mac[5], 5);
  ASSERT_TRUE(rig.run(2));
  EXPECT_EQ(rig.ring(2).used_index(), 2);
  EXPECT_EQ(rig.task(2).in_flight(), 0U);
}

// ATK-10: where the control thread itself waits for the queue, it does not wait for an answer.
TEST(NetDevice, ACommandUnderWayKeepsNobodyWaiting) {
  NetRig rig;
  rig.start();
  rig.hold_posts = true;
  const BuiltChain chain =
      rig.command(spec::VIRTIO_NET_CTRL_RX, spec::VIRTIO_NET_CTRL_RX_PROMISC, switch_on());
  ASSERT_TRUE(rig.run(2));
  rig.task(2).drain(false);
  EXPECT_EQ(rig.task(2).in_flight(), 0U);
  EXPECT_EQ(std::to_integer<std::uint8_t>(chain.written()[0]), kErr);
  // The answer comes late, and is not taken for that of the next one.
  rig.run_posts();
  ASSERT_TRUE(rig.task(2).rebind());
  rig.command(spec::VIRTIO_NET_CTRL_RX, spec::VIRTIO_NET_CTRL_RX_PROMISC, switch_on());
  ASSERT_TRUE(rig.run(2));
  EXPECT_EQ(rig.ring(2).used_index(), 1);
  rig.run_posts();
  ASSERT_TRUE(rig.run(2));
  EXPECT_EQ(rig.ring(2).used_index(), 2);
}

// ATK-10: a command of a driver that is gone does nothing to the next.
TEST(NetDevice, ALateCommandOfAnotherDriverDoesNothing) {
  NetRig rig;
  rig.start();
  rig.hold_posts = true;
  rig.command(spec::VIRTIO_NET_CTRL_MAC, spec::VIRTIO_NET_CTRL_MAC_ADDR_SET,
              std::as_bytes(std::span(kNewMac)));
  ASSERT_TRUE(rig.run(2));
  rig.stop();
  rig.start();
  rig.run_posts();
  EXPECT_EQ(rig.config().mac[5], NetRig::kMac[5]);
}

// VIRTIO 1.3, 5.1.6.5.2.1, 5.1.6.5.6.2: after a reset, nothing of what a driver said is left.
TEST(NetDevice, ForgetsItsDriverAtAReset) {
  NetRig rig({.pairs = 2});
  rig.start();
  EXPECT_EQ(rig.ack_of(spec::VIRTIO_NET_CTRL_MAC, spec::VIRTIO_NET_CTRL_MAC_ADDR_SET, kNewMac),
            kOk);
  EXPECT_EQ(rig.ack_of(spec::VIRTIO_NET_CTRL_RX, spec::VIRTIO_NET_CTRL_RX_PROMISC, std::uint8_t{1}),
            kOk);
  EXPECT_EQ(rig.ack_of(spec::VIRTIO_NET_CTRL_MQ, spec::VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, Le16(2)),
            kOk);
  EXPECT_EQ(rig.ack_of(spec::VIRTIO_NET_CTRL_GUEST_OFFLOADS,
                       spec::VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, Le64(0)),
            kOk);
  rig.stop();
  EXPECT_EQ(rig.config().mac[5], NetRig::kMac[5]);
  rig.start();
  EXPECT_EQ(receives(rig, frame_to(kNewMac, 60)), 0U);
  EXPECT_EQ(receives(rig, frame_to(NetRig::kMac, 60)), 1U);
  EXPECT_EQ(rig.network().channels_in_use, 1);
  EXPECT_EQ(rig.network().guest_offloads, rig.device().features() & kNetGuestOffloads);
}

// VIRTIO 1.3, 5.1.4, 2.5.2: the link's state, and an interrupt when it changes.
TEST(NetDevice, FollowsTheLink) {
  NetRig rig;
  EXPECT_EQ(rig.config().status.get(), spec::VIRTIO_NET_S_LINK_UP);
  rig.start();
  rig.network().link_up = false;
  rig.network().link_changed();
  EXPECT_EQ(rig.config().status.get(), 0);
  EXPECT_EQ(rig.config_changes, 1U);
  rig.network().link_changed();  // again, and nothing changed
  EXPECT_EQ(rig.config_changes, 1U);
}

// VIRTIO 1.3, 5.1.6.5.4, 5.1.6.5.4.2: who is at the other end of a new link is told; the bit goes
// before the command is used.
TEST(NetDevice, HasTheDriverAnnounceItselfOnANewLink) {
  NetRig rig;
  rig.start();
  rig.network().link_up = false;
  rig.network().link_changed();
  rig.network().link_up = true;
  rig.network().link_changed();
  EXPECT_EQ(rig.config().status.get(), spec::VIRTIO_NET_S_LINK_UP | spec::VIRTIO_NET_S_ANNOUNCE);
  EXPECT_EQ(rig.ack_of(spec::VIRTIO_NET_CTRL_ANNOUNCE, spec::VIRTIO_NET_CTRL_ANNOUNCE_ACK,
                       std::span<const std::byte>()),
            kOk);
  EXPECT_EQ(rig.config().status.get(), spec::VIRTIO_NET_S_LINK_UP);
}

TEST(NetDevice, AnnouncesNothingToADriverThatDoesNotKnowHow) {
  NetRig rig;
  rig.start_without(spec::VIRTIO_NET_F_GUEST_ANNOUNCE);
  rig.network().link_up = false;
  rig.network().link_changed();
  rig.network().link_up = true;
  rig.network().link_changed();
  EXPECT_EQ(rig.config().status.get(), spec::VIRTIO_NET_S_LINK_UP);
}

TEST(NetDevice, AQueueIsNoLargerThanItMayBe) {
  NetRig rig;
  rig.start();
  QueueContext context;
  context.setup = {.index = 0, .size = NetRig::kSlots * 2};
  EXPECT_EQ(rig.device().make_queue(context).error().code, Errc::kBadQueueSize);
}

}  // namespace
}  // namespace airlock::device
