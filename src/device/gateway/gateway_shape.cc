// SPDX-License-Identifier: Apache-2.0
#include "device/gateway/gateway_shape.h"

#include <algorithm>

#include "base/le.h"
#include "core/range.h"
#include "spec/virtio.h"
#include "spec/virtio_blk.h"
#include "spec/virtio_console.h"
#include "spec/virtio_net.h"
#include "wire/message.h"

namespace airlock::device {

namespace {

using spec::feature;

constexpr std::uint64_t bits_between(unsigned first, unsigned last) {
  std::uint64_t mask = 0;
  for (unsigned bit = first; bit <= last; ++bit)
    mask |= feature(bit);
  return mask;
}

// What belongs to a device type. VIRTIO 1.3, 2.2.
constexpr std::uint64_t kTypeFeatures = bits_between(0, 23) | bits_between(50, 63);

// Of a network card, what two queues without a control queue can do.
constexpr std::uint64_t kNetFeatures =
    feature(spec::VIRTIO_NET_F_CSUM) | feature(spec::VIRTIO_NET_F_GUEST_CSUM) |
    bits_between(spec::VIRTIO_NET_F_GUEST_TSO4, spec::VIRTIO_NET_F_MRG_RXBUF) |
    bits_between(spec::VIRTIO_NET_F_GUEST_USO4, spec::VIRTIO_NET_F_HOST_USO) |
    feature(spec::VIRTIO_NET_F_GUEST_HDRLEN);

// Of a disk, what needs configuration that nobody asks a backend for.
constexpr std::uint64_t kBlkBeyond =
    feature(spec::VIRTIO_BLK_F_SECURE_ERASE) | feature(spec::VIRTIO_BLK_F_ZONED);

// Of the file system: a queue for notifications, before those for requests. VIRTIO 1.3, 5.11.3.
constexpr unsigned kFsNotification = 0;

/// Features that bring queues which the type has not got here: a driver would look for them.
std::uint64_t features_with_queues(const GatewayShape& shape) {
  if (shape.kind.owner == ConfigOwner::kFs) return feature(kFsNotification);
  if (shape.kind.virtio_id == spec::VIRTIO_ID_CONSOLE) {
    return feature(spec::VIRTIO_CONSOLE_F_MULTIPORT);
  }
  return 0;
}

/// Of the file system: its name, and how many request queues there are. VIRTIO 1.3, 5.11.4.
struct FsConfig {
  char tag[36] = {};
  Le32 num_request_queues;
};
static_assert(sizeof(FsConfig) == 40);

std::vector<std::byte> net_config(const GatewayShape& shape) {
  spec::VirtioNetConfig config;
  if (shape.mac) config.mac = *shape.mac;
  config.status.set(spec::VIRTIO_NET_S_LINK_UP);
  config.max_virtqueue_pairs.set(1);
  config.mtu.set(shape.mtu);
  return vfio_user::bytes_of(config);
}

std::vector<std::byte> fs_config(const GatewayShape& shape) {
  FsConfig config;
  std::ranges::copy(shape.tag.substr(0, sizeof config.tag), config.tag);
  config.num_request_queues.set(shape.queues);
  return vfio_user::bytes_of(config);
}

/// A disk says how many queues a driver may use: those that are shown, whatever the backend has.
void correct_blk(const GatewayShape& shape, std::vector<std::byte>& config) {
  const auto queues = vfio_user::bytes_of(Le16(shape.queues));
  constexpr std::size_t kAt = offsetof(spec::VirtioBlkConfig, num_queues);
  if (!airlock_range_within(kAt, queues.size(), config.size())) return;
  std::ranges::copy(queues, config.begin() + kAt);
}

}  // namespace

std::uint16_t queue_count(const GatewayShape& shape) {
  return static_cast<std::uint16_t>(shape.kind.queues_fixed +
                                    shape.kind.queues_each * shape.queues);
}

std::uint16_t served_queue_count(const GatewayShape& shape) {
  return static_cast<std::uint16_t>(queue_count(shape) - shape.kind.queues_unserved);
}

bool tracks(const GatewayShape& shape, const vhost_user::Facts& facts) {
  if (shape.tracking != Tracking::kAuto) return shape.tracking == Tracking::kGateway;
  if (shape.kind.has_session) return true;
  return shape.kind.reorders && !facts.has_protocol(spec::VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD);
}

std::uint64_t offered_features(const GatewayShape& shape, const vhost_user::Facts& facts) {
  std::uint64_t rings = ring::Features::kMask & shape.ring_features & facts.features;
  if (!facts.has_protocol(spec::VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD)) {
    rings &= ~feature(spec::VIRTIO_F_RING_PACKED);
  }
  if (tracks(shape, facts)) {
    rings &= ~(feature(spec::VIRTIO_F_RING_PACKED) | feature(spec::VIRTIO_F_IN_ORDER));
  }
  std::uint64_t type = facts.features & kTypeFeatures & ~features_with_queues(shape);
  if (shape.kind.owner == ConfigOwner::kNet) {
    type &= kNetFeatures;
    type |= feature(spec::VIRTIO_NET_F_STATUS);
    if (shape.mac) type |= feature(spec::VIRTIO_NET_F_MAC);
    if (shape.mtu != 0) type |= feature(spec::VIRTIO_NET_F_MTU);
  }
  if (shape.kind.virtio_id == spec::VIRTIO_ID_BLOCK) {
    type &= ~kBlkBeyond;
    if (shape.queues > 1) type |= feature(spec::VIRTIO_BLK_F_MQ);
  }
  return type | rings;
}

std::uint64_t backend_features(std::uint64_t negotiated, const vhost_user::Facts& facts) {
  const std::uint64_t known = kTypeFeatures | ring::Features::kMask |
                              feature(spec::VIRTIO_F_VERSION_1) |
                              feature(spec::VIRTIO_F_RING_RESET);
  return negotiated & known & facts.features;
}

std::vector<std::byte> device_config(const GatewayShape& shape, const vhost_user::Facts& facts) {
  switch (shape.kind.owner) {
    case ConfigOwner::kNet:
      return net_config(shape);
    case ConfigOwner::kFs:
      return fs_config(shape);
    case ConfigOwner::kVsock:
      return vfio_user::bytes_of(Le64(shape.cid));
    case ConfigOwner::kBackend:
      break;
  }
  std::vector<std::byte> config = facts.config;
  if (shape.kind.virtio_id == spec::VIRTIO_ID_BLOCK) correct_blk(shape, config);
  return config;
}

}  // namespace airlock::device
