// SPDX-License-Identifier: Apache-2.0
// Headers, as a driver or a backend writes them: each accepted form beside those that are refused.
#include "device/net/net_header.h"

#include <gtest/gtest.h>

#include <vector>

#include "spec/virtio.h"
#include "testing/net_header.h"

namespace airlock::device {
namespace {

constexpr NetHeaderRules kAll = {
    .checksum = true, .validated = true, .tcp4 = true, .tcp6 = true, .ecn = true, .udp = true};
constexpr std::size_t kFrame = 1000;

spec::VirtioNetHdr checksummed(std::uint16_t start, std::uint16_t offset) {
  return testing::net_header(
      {.flags = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = start, .csum_offset = offset});
}

spec::VirtioNetHdr segmented(std::uint8_t type, std::uint16_t size = 500) {
  spec::VirtioNetHdr header = checksummed(34, 16);
  header.gso_type = type;
  header.gso_size.set(size);
  header.hdr_len.set(54);
  return header;
}

bool accepts(const spec::VirtioNetHdr& header, const NetHeaderRules& rules = kAll) {
  return check_net_header(header, kFrame, rules).has_value();
}

TEST(NetHeader, APlainFrameNeedsNothing) {
  EXPECT_TRUE(accepts({}, {}));
}

// ATK-1, ATK-3: the checksum lies in the frame, up to its last byte.
TEST(NetHeader, ChecksumLiesInTheFrame) {
  EXPECT_TRUE(accepts(checksummed(34, 16)));
  EXPECT_TRUE(accepts(checksummed(kFrame - 2, 0)));
  EXPECT_TRUE(accepts(checksummed(0, kFrame - 2)));
  EXPECT_FALSE(accepts(checksummed(kFrame - 1, 0)));
  EXPECT_FALSE(accepts(checksummed(0, kFrame - 1)));
  EXPECT_FALSE(accepts(checksummed(0xffff, 0xffff)));
}

// ATK-14; VIRTIO 1.3, 5.1.6.2.1: what was not negotiated is not asked for.
TEST(NetHeader, ChecksumHasToBeNegotiated) {
  NetHeaderRules rules = kAll;
  rules.checksum = false;
  EXPECT_FALSE(accepts(checksummed(34, 16), rules));
}

// VIRTIO 1.3, 5.1.6.2.2: without the flag the fields are not used; flags nobody knows are ignored.
TEST(NetHeader, FieldsWithoutTheirFlagMeanNothing) {
  spec::VirtioNetHdr header = checksummed(0xffff, 0xffff);
  header.flags = 0xf8 | spec::VIRTIO_NET_HDR_F_RSC_INFO;
  header.gso_size.set(7);
  header.num_buffers.set(9);
  const auto checked = check_net_header(header, kFrame, kAll);
  ASSERT_TRUE(checked);
  EXPECT_EQ(checked->flags, 0);
  EXPECT_EQ(checked->csum_start.get(), 0);
  EXPECT_EQ(checked->csum_offset.get(), 0);
  EXPECT_EQ(checked->gso_size.get(), 0);
  EXPECT_EQ(checked->num_buffers.get(), 0);
}

// VIRTIO 1.3, 5.1.6.2.2: hdr_len is a hint that nobody relies on, and never beyond the frame.
TEST(NetHeader, HeaderLengthIsAHint) {
  spec::VirtioNetHdr header{};
  header.hdr_len.set(0xffff);
  EXPECT_EQ(check_net_header(header, kFrame, kAll)->hdr_len.get(), kFrame);
  header.hdr_len.set(54);
  EXPECT_EQ(check_net_header(header, kFrame, kAll)->hdr_len.get(), 54);
}

// ATK-14; VIRTIO 1.3, 5.1.6.2.1, 5.1.6.4.1: each kind of segmentation by its own feature.
TEST(NetHeader, SegmentationHasToBeNegotiated) {
  struct Row {
    std::uint8_t type;
    bool NetHeaderRules::* rule;
  };
  for (const Row& row : {Row{spec::VIRTIO_NET_HDR_GSO_TCPV4, &NetHeaderRules::tcp4},
                         Row{spec::VIRTIO_NET_HDR_GSO_TCPV6, &NetHeaderRules::tcp6},
                         Row{spec::VIRTIO_NET_HDR_GSO_UDP_L4, &NetHeaderRules::udp}}) {
    EXPECT_TRUE(accepts(segmented(row.type)));
    NetHeaderRules rules = kAll;
    rules.*row.rule = false;
    EXPECT_FALSE(accepts(segmented(row.type), rules));
  }
}

TEST(NetHeader, EcnGoesWithTcpAndHasToBeNegotiated) {
  constexpr std::uint8_t kEcn = spec::VIRTIO_NET_HDR_GSO_ECN;
  EXPECT_TRUE(accepts(segmented(spec::VIRTIO_NET_HDR_GSO_TCPV4 | kEcn)));
  EXPECT_TRUE(accepts(segmented(spec::VIRTIO_NET_HDR_GSO_TCPV6 | kEcn)));
  EXPECT_FALSE(accepts(segmented(spec::VIRTIO_NET_HDR_GSO_UDP_L4 | kEcn)));
  EXPECT_FALSE(accepts(segmented(kEcn)));
  NetHeaderRules rules = kAll;
  rules.ecn = false;
  EXPECT_FALSE(accepts(segmented(spec::VIRTIO_NET_HDR_GSO_TCPV4 | kEcn), rules));
}

// Fragmentation of UDP is never offered, and other numbers mean nothing.
TEST(NetHeader, UnknownSegmentationIsRefused) {
  EXPECT_FALSE(accepts(segmented(spec::VIRTIO_NET_HDR_GSO_UDP)));
  for (int type = 6; type < 0x80; ++type) {
    EXPECT_FALSE(accepts(segmented(static_cast<std::uint8_t>(type)))) << type;
  }
}

// VIRTIO 1.3, 5.1.6.2.1: a size, and a checksum that is left to do.
TEST(NetHeader, SegmentationNeedsASizeAndAChecksum) {
  EXPECT_FALSE(accepts(segmented(spec::VIRTIO_NET_HDR_GSO_TCPV4, 0)));
  spec::VirtioNetHdr header = segmented(spec::VIRTIO_NET_HDR_GSO_TCPV4);
  header.flags = 0;
  EXPECT_FALSE(accepts(header));
  header.flags = spec::VIRTIO_NET_HDR_F_DATA_VALID;
  EXPECT_FALSE(accepts(header));
}

// VIRTIO 1.3, 5.1.6.4.1: without VIRTIO_NET_F_GUEST_CSUM the flags are zero.
TEST(NetHeader, AValidatedChecksumIsNewsOnlyForOneWhoAgreedToIt) {
  const spec::VirtioNetHdr header =
      testing::net_header({.flags = spec::VIRTIO_NET_HDR_F_DATA_VALID});
  EXPECT_EQ(check_net_header(header, kFrame, kAll)->flags, spec::VIRTIO_NET_HDR_F_DATA_VALID);
  EXPECT_EQ(check_net_header(header, kFrame, {})->flags, 0);
}

TEST(NetHeader, RulesFollowFeatures) {
  EXPECT_EQ(net_transmit_rules(0), NetHeaderRules());
  EXPECT_EQ(net_receive_rules(0), NetHeaderRules());
  EXPECT_EQ(net_receive_rules(~std::uint64_t{0}), kAll);
  NetHeaderRules transmit = kAll;
  transmit.validated = false;  // 5.1.6.2.1: not for a driver to say
  EXPECT_EQ(net_transmit_rules(~std::uint64_t{0}), transmit);
  // Those of one direction say nothing about the other.
  EXPECT_EQ(net_transmit_rules(spec::feature(spec::VIRTIO_NET_F_GUEST_CSUM)), NetHeaderRules());
  EXPECT_EQ(net_receive_rules(spec::feature(spec::VIRTIO_NET_F_CSUM)), NetHeaderRules());
}

// One type stands for segments of both, and a driver may take only those of one.
TEST(NetHeader, SegmentsOfUdpAreForADriverThatTakesBothKinds) {
  constexpr auto kFour = spec::feature(spec::VIRTIO_NET_F_GUEST_USO4);
  constexpr auto kSix = spec::feature(spec::VIRTIO_NET_F_GUEST_USO6);
  EXPECT_TRUE(net_receive_rules(kFour | kSix).udp);
  EXPECT_FALSE(net_receive_rules(kFour).udp);
  EXPECT_FALSE(net_receive_rules(kSix).udp);
}

}  // namespace
}  // namespace airlock::device
