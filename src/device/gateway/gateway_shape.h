// SPDX-License-Identifier: Apache-2.0
//
// What a gateway shows to a driver: made of what the backend said of itself, and of options where
// the protocol leaves it to the front end.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "device/gateway/device_kind.h"
#include "ring/features.h"
#include "vhost_user/front_end.h"

namespace airlock::device {

/// Who remembers what a backend has taken and not returned, for the next one.
enum class Tracking : std::uint8_t {
  kAuto,     // the backend where it has a record (inflight memory), we where it may reorder, and
             // where there is a session besides (FUSE's)
  kGateway,  // we do, which takes a hop in this process for each request
  kBackend,  // the backend does, or has nothing to remember: it works in order
};

/// What a gateway is to be.
struct GatewayShape {
  DeviceKind kind;
  std::uint16_t queues = 1;  // of those that a type can have more or fewer of
  std::uint16_t queue_size = 256;
  std::uint64_t ring_features = ring::Features::kMask;  // on offer at most
  // Initialized for GCC, where they are left out.
  // NOLINTNEXTLINE(readability-redundant-member-init)
  std::string tag{};  // of fs
  // NOLINTNEXTLINE(readability-redundant-member-init)
  std::optional<std::array<std::uint8_t, 6>> mac{};  // of net; without it the driver chooses
  std::uint16_t mtu = 0;                             // of net; 0: it says nothing
  std::uint64_t cid = 0;                             // of vsock
  Tracking tracking = Tracking::kAuto;
};

/// Of all of them.
[[nodiscard]] std::uint16_t queue_count(const GatewayShape& shape);
/// Those that the backend serves.
[[nodiscard]] std::uint16_t served_queue_count(const GatewayShape& shape);

/// Whether the queues are to be TrackedQueues.
[[nodiscard]] bool tracks(const GatewayShape& shape, const vhost_user::Facts& facts);

/// What a driver is offered, but the transport's and the region's: what the backend has and nobody
/// else would have to serve, and what the front end answers for. Packed rings only with inflight
/// memory: without it nobody could say where to go on after a backend died. Tracked queues are
/// split ones.
[[nodiscard]] std::uint64_t offered_features(const GatewayShape& shape,
                                             const vhost_user::Facts& facts);

/// What of a driver's choice the backend is told. ACCESS_PLATFORM never: there is no IOTLB, and the
/// addresses of its table are the whole truth. Nor the bits of the region, and of notification
/// data, which end here.
[[nodiscard]] std::uint64_t backend_features(std::uint64_t negotiated,
                                             const vhost_user::Facts& facts);

/// The device configuration. Empty if there is none.
[[nodiscard]] std::vector<std::byte> device_config(const GatewayShape& shape,
                                                   const vhost_user::Facts& facts);

}  // namespace airlock::device
