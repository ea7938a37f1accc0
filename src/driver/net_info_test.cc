// SPDX-License-Identifier: Apache-2.0
// A network card's configuration: what is believed of it, and what is not.
#include "driver/net_info.h"

#include <gtest/gtest.h>

namespace airlock::driver {
namespace {

using Config = spec::VirtioNetConfig;

constexpr std::uint64_t kAll = kNetFeatures;
constexpr std::size_t kWhole = 12;

std::uint64_t bits(auto... numbers) {
  return (spec::feature(numbers) | ...);
}

Config sane() {
  Config config;
  config.mac[0] = 0x52;
  config.mac[5] = 1;
  config.status.set(spec::VIRTIO_NET_S_LINK_UP);
  config.max_virtqueue_pairs.set(4);
  config.mtu.set(9000);
  return config;
}

void expect_malformed(const Config& config, std::size_t offset, std::size_t available = kWhole) {
  const auto parsed = parse_net_config(config, available, kAll);
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error(),
            (Error{.code = Errc::kMalformed, .detail = static_cast<std::uint32_t>(offset)}));
}

TEST(NetInfo, TakesWhatWasNegotiated) {
  const NetInfo info = MUST(parse_net_config(sane(), kWhole, kAll));
  EXPECT_EQ(info.mac, (MacAddress{0x52, 0, 0, 0, 0, 1}));
  EXPECT_EQ(info.mtu, 9000);
  EXPECT_EQ(info.pairs_max, 4);
  EXPECT_TRUE(info.mergeable && info.has_control && info.has_status);
  EXPECT_TRUE(info.completes_checksums && info.may_lack_checksums);
}

// HD-12: a field whose feature was not negotiated is nothing to us.
TEST(NetInfo, IgnoresTheRest) {
  Config config;
  config.mac[0] = 0xff;
  EXPECT_EQ(MUST(parse_net_config(config, 0, 0)), NetInfo{});
  EXPECT_EQ(parse_net_status(config, 0), NetStatus{});
}

// HD-13: VIRTIO 1.3, 5.1.4.1, 5.1.4.2.
TEST(NetInfo, RefusesWhatMakesNoSense) {
  Config config = sane();
  config.mac[0] |= 1;  // a group's
  expect_malformed(config, offsetof(Config, mac));
  config = sane();
  config.mac[0] = config.mac[5] = 0;
  expect_malformed(config, offsetof(Config, mac));
  config = sane();
  config.mtu.set(67);
  expect_malformed(config, offsetof(Config, mtu));
  for (const std::uint16_t pairs : std::initializer_list<std::uint16_t>{0, 0x8001, 0xffff}) {
    config = sane();
    config.max_virtqueue_pairs.set(pairs);
    expect_malformed(config, offsetof(Config, max_virtqueue_pairs));
  }
}

// Several pairs are chosen by the control queue. VIRTIO 1.3, 5.1.3.1.
TEST(NetInfo, RefusesSeveralPairsWithoutAControlQueue) {
  const std::uint64_t features = bits(spec::VIRTIO_NET_F_MQ);
  EXPECT_FALSE(parse_net_config(sane(), kWhole, features));
  EXPECT_TRUE(parse_net_config(sane(), kWhole, features | bits(spec::VIRTIO_NET_F_CTRL_VQ)));
}

TEST(NetInfo, RefusesAFieldThatIsNotThere) {
  expect_malformed(sane(), offsetof(Config, mac), 5);
  expect_malformed(sane(), offsetof(Config, status), 6);
  expect_malformed(sane(), offsetof(Config, max_virtqueue_pairs), 8);
  expect_malformed(sane(), offsetof(Config, mtu), 10);
}

TEST(NetInfo, TellsTheLinksState) {
  Config config = sane();
  const std::uint64_t status = bits(spec::VIRTIO_NET_F_STATUS);
  EXPECT_EQ(parse_net_status(config, status), (NetStatus{.link_up = true, .announce = false}));
  config.status.set(spec::VIRTIO_NET_S_ANNOUNCE);
  EXPECT_EQ(parse_net_status(config, status), (NetStatus{.link_up = false, .announce = false}));
  EXPECT_EQ(parse_net_status(config, status | bits(spec::VIRTIO_NET_F_GUEST_ANNOUNCE)),
            (NetStatus{.link_up = false, .announce = true}));
}

}  // namespace
}  // namespace airlock::driver
