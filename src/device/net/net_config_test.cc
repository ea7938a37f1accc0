// SPDX-License-Identifier: Apache-2.0
// What a network card offers, and which choices of that it works with.
#include "device/net/net_config.h"

#include <gtest/gtest.h>

#include "device/net/net_region.h"
#include "spec/virtio.h"

namespace airlock::device {
namespace {

using spec::feature;

struct Need {
  unsigned bit;
  unsigned needs;
};

// VIRTIO 1.3, 5.1.3.1: each feature with what it requires, and without.
TEST(NetConfig, AFeatureNeedsThoseThatItRequires) {
  constexpr Need kNeeds[] = {{spec::VIRTIO_NET_F_GUEST_TSO4, spec::VIRTIO_NET_F_GUEST_CSUM},
                             {spec::VIRTIO_NET_F_GUEST_TSO6, spec::VIRTIO_NET_F_GUEST_CSUM},
                             {spec::VIRTIO_NET_F_GUEST_USO4, spec::VIRTIO_NET_F_GUEST_CSUM},
                             {spec::VIRTIO_NET_F_GUEST_USO6, spec::VIRTIO_NET_F_GUEST_CSUM},
                             {spec::VIRTIO_NET_F_HOST_TSO4, spec::VIRTIO_NET_F_CSUM},
                             {spec::VIRTIO_NET_F_HOST_TSO6, spec::VIRTIO_NET_F_CSUM},
                             {spec::VIRTIO_NET_F_HOST_USO, spec::VIRTIO_NET_F_CSUM},
                             {spec::VIRTIO_NET_F_CTRL_RX, spec::VIRTIO_NET_F_CTRL_VQ},
                             {spec::VIRTIO_NET_F_CTRL_RX_EXTRA, spec::VIRTIO_NET_F_CTRL_VQ},
                             {spec::VIRTIO_NET_F_CTRL_VLAN, spec::VIRTIO_NET_F_CTRL_VQ},
                             {spec::VIRTIO_NET_F_CTRL_MAC_ADDR, spec::VIRTIO_NET_F_CTRL_VQ},
                             {spec::VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, spec::VIRTIO_NET_F_CTRL_VQ},
                             {spec::VIRTIO_NET_F_GUEST_ANNOUNCE, spec::VIRTIO_NET_F_CTRL_VQ},
                             {spec::VIRTIO_NET_F_MQ, spec::VIRTIO_NET_F_CTRL_VQ}};
  for (const Need& need : kNeeds) {
    EXPECT_TRUE(net_features_hold(feature(need.bit) | feature(need.needs))) << need.bit;
    EXPECT_FALSE(net_features_hold(feature(need.bit))) << need.bit;
  }
}

// VIRTIO 1.3, 5.1.3.1: one of the two is enough.
TEST(NetConfig, EcnNeedsSegmentationOfOneKind) {
  for (const unsigned tso : {spec::VIRTIO_NET_F_GUEST_TSO4, spec::VIRTIO_NET_F_GUEST_TSO6}) {
    EXPECT_TRUE(net_features_hold(feature(spec::VIRTIO_NET_F_GUEST_ECN) | feature(tso) |
                                  feature(spec::VIRTIO_NET_F_GUEST_CSUM)));
  }
  EXPECT_FALSE(net_features_hold(feature(spec::VIRTIO_NET_F_GUEST_ECN) |
                                 feature(spec::VIRTIO_NET_F_GUEST_CSUM)));
  for (const unsigned tso : {spec::VIRTIO_NET_F_HOST_TSO4, spec::VIRTIO_NET_F_HOST_TSO6}) {
    EXPECT_TRUE(net_features_hold(feature(spec::VIRTIO_NET_F_HOST_ECN) | feature(tso) |
                                  feature(spec::VIRTIO_NET_F_CSUM)));
  }
  EXPECT_FALSE(
      net_features_hold(feature(spec::VIRTIO_NET_F_HOST_ECN) | feature(spec::VIRTIO_NET_F_CSUM)));
}

// BASE-3; VIRTIO 1.3, 5.1.3: nothing is offered without what it requires, whatever the backend says
// that it can.
TEST(NetConfig, OffersNothingThatLacksARequirement) {
  EXPECT_TRUE(net_features_hold(net_features(~std::uint64_t{0}, {})));
  const std::uint64_t orphans =
      feature(spec::VIRTIO_NET_F_HOST_ECN) | feature(spec::VIRTIO_NET_F_HOST_TSO4) |
      feature(spec::VIRTIO_NET_F_GUEST_ECN) | feature(spec::VIRTIO_NET_F_GUEST_TSO6);
  const std::uint64_t offered = net_features(orphans, {});
  EXPECT_TRUE(net_features_hold(offered));
  EXPECT_EQ(offered & orphans, 0U);
  EXPECT_EQ(offered & feature(spec::VIRTIO_NET_F_CTRL_GUEST_OFFLOADS), 0U);
}

TEST(NetConfig, OffersNoFeatureThatItDoesNotHave) {
  const std::uint64_t all = net_features(~std::uint64_t{0}, {.pairs = 2, .mtu = 1500});
  for (const unsigned bit :
       {spec::VIRTIO_NET_F_GUEST_UFO, spec::VIRTIO_NET_F_HOST_UFO, spec::VIRTIO_NET_F_RSS,
        spec::VIRTIO_NET_F_HASH_REPORT, spec::VIRTIO_NET_F_RSC_EXT, spec::VIRTIO_NET_F_STANDBY,
        spec::VIRTIO_NET_F_SPEED_DUPLEX}) {
    EXPECT_EQ(all & feature(bit), 0U) << bit;
  }
}

// VIRTIO 1.3, 5.1.4, 5.1.4.1.
TEST(NetConfig, TellsWhatWasChosen) {
  const NetShape shape{.pairs = 3, .mac = {2, 0, 0, 0, 0, 7}, .mtu = 9000, .speed_mbits = 10000};
  const std::uint64_t features = net_features(0, shape);
  for (const unsigned bit :
       {spec::VIRTIO_NET_F_MAC, spec::VIRTIO_NET_F_STATUS, spec::VIRTIO_NET_F_MTU,
        spec::VIRTIO_NET_F_MQ, spec::VIRTIO_NET_F_SPEED_DUPLEX}) {
    EXPECT_NE(features & feature(bit), 0U) << bit;
  }
  const spec::VirtioNetConfig config = net_config(shape, true);
  EXPECT_EQ(config.mac[5], 7);
  EXPECT_EQ(config.status.get(), spec::VIRTIO_NET_S_LINK_UP);
  EXPECT_EQ(config.max_virtqueue_pairs.get(), 3);
  EXPECT_EQ(config.mtu.get(), 9000);
  EXPECT_EQ(config.speed.get(), 10000U);
  EXPECT_EQ(config.duplex, spec::VIRTIO_NET_DUPLEX_FULL);
}

TEST(NetConfig, TellsThatItDoesNotKnow) {
  const spec::VirtioNetConfig config = net_config({}, false);
  EXPECT_EQ(config.status.get(), 0);
  EXPECT_EQ(config.speed.get(), spec::VIRTIO_NET_SPEED_UNKNOWN);
  EXPECT_EQ(config.duplex, spec::VIRTIO_NET_DUPLEX_UNKNOWN);
  const std::uint64_t features = net_features(0, {});
  EXPECT_EQ(features & (feature(spec::VIRTIO_NET_F_MTU) | feature(spec::VIRTIO_NET_F_MQ)), 0U);
}

// DEF-4: a larger card needs a larger region; the usual one fits into a megabyte.
TEST(NetConfig, KnowsTheRegionThatItNeeds) {
  EXPECT_EQ(net_region_bytes_min({}), std::uint64_t{1} << 20);
  EXPECT_GT(net_region_bytes_min({.pairs = 4}), net_region_bytes_min({}));
  EXPECT_GT(net_region_bytes_min({.queue_size = 512}), net_region_bytes_min({.queue_size = 128}));
}

}  // namespace
}  // namespace airlock::device
