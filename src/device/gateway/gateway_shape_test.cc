// SPDX-License-Identifier: Apache-2.0
//
// Goal: a driver is offered nothing that neither the backend nor the front end could keep. Method:
// backends that say they can do everything.
#include "device/gateway/gateway_shape.h"

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "spec/virtio.h"
#include "spec/virtio_blk.h"
#include "spec/virtio_console.h"
#include "spec/virtio_net.h"

namespace airlock::device {
namespace {

using spec::feature;

std::uint64_t offered(std::string_view device, std::uint64_t features) {
  const GatewayShape shape{.kind = *find_device_kind(device), .tag = "share", .mac = std::nullopt};
  vhost_user::Facts facts;
  facts.features = features;
  return offered_features(shape, facts);
}

constexpr std::uint64_t kEverything = ~std::uint64_t{0};

TEST(GatewayShape, OffersNoFeatureWhoseQueuesAreNotThere) {
  constexpr unsigned kFsNotification = 0;
  EXPECT_EQ(offered("console", kEverything) & feature(spec::VIRTIO_CONSOLE_F_MULTIPORT), 0U);
  EXPECT_EQ(offered("fs", kEverything) & feature(kFsNotification), 0U);
  constexpr std::uint64_t kControl =
      feature(spec::VIRTIO_NET_F_CTRL_VQ) | feature(spec::VIRTIO_NET_F_MQ);
  EXPECT_EQ(offered("net", kEverything) & kControl, 0U);
}

TEST(GatewayShape, OffersWhatTheBackendHasBesides) {
  EXPECT_NE(offered("console", kEverything) & feature(spec::VIRTIO_CONSOLE_F_SIZE), 0U);
  EXPECT_NE(offered("blk", kEverything) & feature(spec::VIRTIO_BLK_F_FLUSH), 0U);
  EXPECT_NE(offered("net", kEverything) & feature(spec::VIRTIO_NET_F_CSUM), 0U);
  EXPECT_EQ(offered("blk", 0), 0U);
}

// VIRTIO 1.3, 5.11.3, 5.11.4: one queue of high priority before those that are counted; the name is
// filled up with zeros, and has no end where it fills its place.
TEST(GatewayShape, ShowsAFileSystemsNameAndQueues) {
  GatewayShape shape{
      .kind = *find_device_kind("fs"), .queues = 2, .tag = "share", .mac = std::nullopt};
  EXPECT_EQ(served_queue_count(shape), 3);
  std::vector<std::byte> expected(40, std::byte{0});
  std::ranges::copy(std::as_bytes(std::span(shape.tag)), expected.begin());
  expected[36] = std::byte{2};
  EXPECT_EQ(device_config(shape, {}), expected);
  shape.tag = std::string(36, 'x');
  EXPECT_EQ(device_config(shape, {})[35], std::byte{'x'});
  EXPECT_EQ(device_config(shape, {})[36], std::byte{2});
}

}  // namespace
}  // namespace airlock::device
