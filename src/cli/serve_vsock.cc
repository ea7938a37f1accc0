// SPDX-License-Identifier: Apache-2.0
#include "cli/serve_vsock.h"

#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>
#include <bit>
#include <memory>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/size.h"
#include "cli/host_vsock.h"
#include "cli/listening.h"
#include "cli/serve_device.h"
#include "cli/socket_connector.h"
#include "cli/socket_keeper.h"
#include "device/vsock/vsock_device.h"
#include "device/vsock/vsock_region.h"
#include "wire/listener.h"

namespace airlock::cli {

namespace {

/// Descriptors beside those of connections: sockets, eventfds, the region, clients at the door.
constexpr rlim_t kOtherDescriptors = 256;
/// Clients of the host that wait for the device, or for a driver.
constexpr int kVsockBacklog = 128;

Outcome check_vsock(const ServeVsockOptions& options) {
  if (!std::has_single_bit(options.queue_size)) {
    return usage(fmt::format("--queue-size {}", options.queue_size),
                 "a split ring has a power of two of entries", "try --queue-size 256");
  }
  if (options.uds.size() > SocketConnector::kPrefixMost) {
    return usage(fmt::format("--uds {}", options.uds), "no port fits behind it in a socket's path",
                 "give a shorter path");
  }
  const std::uint64_t needed = device::vsock_region_bytes_min(options.queue_size);
  if (options.serve.dma == pci::DmaPolicy::kOpen || options.serve.region >= needed) return {};
  return failed(
      fmt::format("--region {}", format_size(options.serve.region)),
      fmt::format("the rings and packets of queues of {} entries don't fit", options.queue_size),
      fmt::format("give --region {} or more, or smaller queues", format_size(needed)));
}

/// A descriptor for each connection, as far as this process may have them. How many there can be.
std::size_t raise_descriptors(std::uint32_t connections) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return connections;
  const rlim_t wanted = connections + kOtherDescriptors;
  limit.rlim_cur =
      std::min(limit.rlim_max, std::max(limit.rlim_cur, connections + kOtherDescriptors));
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) static_cast<void>(getrlimit(RLIMIT_NOFILE, &limit));
  if (limit.rlim_cur >= wanted) return connections;
  const std::size_t most = limit.rlim_cur - std::min(limit.rlim_cur - 1, kOtherDescriptors);
  log(LogLevel::kWarning, "at most {} connections, as there are no more descriptors (ulimit -n)",
      most);
  return most;
}

/// What sockets don't take comes and goes in large pieces: those go back to the system at once.
void prepare_memory() {
  constexpr int kLargePiece = 64 << 10;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): before there are threads
  static_cast<void>(mallopt(M_MMAP_THRESHOLD, kLargePiece));
}

/// The host's side: where its clients come, who connects to its servers.
struct HostSide {
  std::vector<device::VsockListener> listeners;
  // They remove the sockets' files when they go.
  std::shared_ptr<std::vector<SocketKeeper>> keepers =
      std::make_shared<std::vector<SocketKeeper>>();
  std::unique_ptr<SocketConnector> connector;
  bool seqpacket = true;
  std::string text;
};

Result<void> add_path(HostSide& side, const std::string& path, device::VsockType type) {
  auto keeper = TRY(SocketKeeper::start(path));
  const int socket_type = type == device::VsockType::kStream ? SOCK_STREAM : SOCK_SEQPACKET;
  auto listener =
      TRY(vfio_user::Listener::create(path, {.type = socket_type, .backlog = kVsockBacklog}));
  TRY(keeper.keep(listener.file()));
  side.keepers->push_back(std::move(keeper));
  side.listeners.push_back({.socket = listener.release(), .type = type});
  return {};
}

std::unexpected<Failure> no_connector(const Error& error) {
  return failed("start a process", describe(error), "look at the limits");
}

std::expected<HostSide, Failure> make_path_side(const std::string& uds) {
  HostSide side;
  side.text = uds;
  auto connector = SocketConnector::to_paths(uds);
  if (!connector) return no_connector(connector.error());
  side.connector = std::move(*connector);
  if (auto made = add_path(side, uds, device::VsockType::kStream); !made) {
    return cannot_listen(uds, made.error());
  }
  const std::string path = uds + "_seqpacket";
  if (auto made = add_path(side, path, device::VsockType::kSeqpacket); !made) {
    return cannot_listen(path, made.error());
  }
  return side;
}

// Streams only: Linux takes a part of a message from a sender that does not wait, and the rest
// would be another.
std::expected<HostSide, Failure> make_vsock_side(std::uint32_t cid,
                                                 const std::vector<std::uint32_t>& ports) {
  HostSide side;
  side.seqpacket = false;
  side.text = fmt::format("cid {}", cid);
  auto connector = SocketConnector::to_cid(cid);
  if (!connector) return no_connector(connector.error());
  side.connector = std::move(*connector);
  for (const std::uint32_t port : ports) {
    auto socket = listen_vsock(port, kVsockBacklog);
    if (!socket) {
      return failed(fmt::format("listen on AF_VSOCK port {}", port), describe(socket.error()),
                    "see what listens there (ss --vsock), and whether the host has AF_VSOCK "
                    "(modprobe vsock)");
    }
    side.listeners.push_back({.socket = std::move(*socket), .port = port});
  }
  return side;
}

void add_vsock_counters(nlohmann::ordered_json& json, const device::VsockDevice& device) {
  const device::VsockCounts counts = device.counts();
  json.update({{"connections", counts.connections},
               {"half_open", counts.half_open},
               {"from_guest", counts.from_guest},
               {"from_host", counts.from_host},
               {"packets_to_host", counts.packets_to_host},
               {"packets_to_guest", counts.packets_to_guest},
               {"bytes_to_host", counts.bytes_to_host},
               {"bytes_to_guest", counts.bytes_to_guest},
               {"refused", counts.refused},
               {"resets", counts.resets},
               {"overdrawn", counts.overdrawn},
               {"foreign", counts.foreign},
               {"clients_dropped", counts.clients_dropped}});
}

std::expected<MadeDevice, Failure> make_vsock(const ServeVsockOptions& options) {
  prepare_memory();
  auto side = options.forward_cid ? make_vsock_side(*options.forward_cid, options.forward_listen)
                                  : make_path_side(options.uds);
  if (!side) return std::unexpected(side.error());
  auto device = device::VsockDevice::create(
      {.guest_cid = options.cid,
       .queue_size = options.queue_size,
       .connections_most = raise_descriptors(options.connections),
       .seqpacket = side->seqpacket,
       .listeners = std::move(side->listeners),
       .connector = std::move(side->connector),
       .ring_features = options.serve.ring_features & ring::Features::kMask});
  if (!device) return failed("serve vsock", describe(device.error()), "see its --help");
  const auto& made = **device;
  // The keepers go with the counters.
  return MadeDevice{.type = std::move(*device),
                    .text = fmt::format("cid {}, host at {}", options.cid, side->text),
                    .add_counters = [&made, keepers = side->keepers](auto& json) {
                      add_vsock_counters(json, made);
                    }};
}

}  // namespace

Outcome serve_vsock(const ServeVsockOptions& options) {
  if (auto good = check_vsock(options); !good) return good;
  // A process that takes another's place has none of its connections: the driver is told
  // (VIRTIO 1.3, 5.10.6.7).
  return serve_device("vsock", options.serve,
                      [&](const Restart& /*restart*/) { return make_vsock(options); });
}

}  // namespace airlock::cli
