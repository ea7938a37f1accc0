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
/// What is freed of the small ones is kept, since glibc asks a file in /proc before it gives a
/// thread's heap back, and there will be no files.
void prepare_memory() {
  constexpr int kLargePiece = 64 << 10;
  constexpr int kKept = 4 << 20;
  // NOLINTBEGIN(concurrency-mt-unsafe): before there are threads
  static_cast<void>(mallopt(M_MMAP_THRESHOLD, kLargePiece));
  static_cast<void>(mallopt(M_TRIM_THRESHOLD, kKept));
  // NOLINTEND(concurrency-mt-unsafe)
}

/// A socket for the host's clients, and the process that removes its file.
struct Door {
  SocketKeeper keeper;
  Fd socket;
};

Result<Door> make_door(const std::string& path, int type) {
  Door door {
    .keeper = TRY(SocketKeeper::start(path))
    , .socket = Fd()
  };
  auto listener = TRY(vfio_user::Listener::create(path, {.type = type, .backlog = kVsockBacklog}));
  TRY(door.keeper.keep(listener.file()));
  door.socket = listener.release();
  return door;
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
  auto connector = SocketConnector::start(options.uds);
  if (!connector) {
    return failed("start a process", describe(connector.error()), "look at the limits");
  }
  const std::string seqpacket_path = options.uds + "_seqpacket";
  auto stream = make_door(options.uds, SOCK_STREAM);
  if (!stream) return cannot_listen(options.uds, stream.error());
  auto seqpacket = make_door(seqpacket_path, SOCK_SEQPACKET);
  if (!seqpacket) return cannot_listen(seqpacket_path, seqpacket.error());
  auto device = device::VsockDevice::create(
      {.guest_cid = options.cid,
       .queue_size = options.queue_size,
       .connections_most = raise_descriptors(options.connections),
       .stream_listener = std::move(stream->socket),
       .seqpacket_listener = std::move(seqpacket->socket),
       .connector = std::move(*connector),
       .ring_features = options.serve.ring_features & ring::Features::kMask});
  if (!device) return failed("serve vsock", describe(device.error()), "see its --help");
  const auto& made = **device;
  // They remove the files when they go, and go with the counters.
  auto keepers = std::make_shared<std::vector<SocketKeeper>>();
  keepers->push_back(std::move(stream->keeper));
  keepers->push_back(std::move(seqpacket->keeper));
  return MadeDevice{
      .type = std::move(*device),
      .text = fmt::format("cid {}, host at {}", options.cid, options.uds),
      .add_counters = [&made, keepers](auto& json) { add_vsock_counters(json, made); }};
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
