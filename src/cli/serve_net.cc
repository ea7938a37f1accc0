// SPDX-License-Identifier: Apache-2.0
#include "cli/serve_net.h"

#include <bit>
#include <memory>
#include <utility>

#include <nlohmann/json.hpp>

#include "backend/open_net.h"
#include "base/size.h"
#include "cli/mac_address.h"
#include "cli/serve_device.h"
#include "device/net/net_device.h"
#include "device/net/net_region.h"

namespace airlock::cli {

namespace {

Outcome check(const ServeNetOptions& options) {
  if (!std::has_single_bit(options.queue_size)) {
    return usage(fmt::format("--queue-size {}", options.queue_size),
                 "a split ring has a power of two of entries", "try --queue-size 256");
  }
  if (options.mtu != 0 && options.mtu < spec::VIRTIO_NET_MTU_MIN) {
    return usage(fmt::format("--mtu {}", options.mtu),
                 fmt::format("a network has one of at least {}", spec::VIRTIO_NET_MTU_MIN),
                 "try --mtu 1500");
  }
  return {};
}

/// A region in which every queue has its ring and room for frames.
Outcome check_region(const ServeNetOptions& options, const device::NetShape& shape) {
  const std::uint64_t needed = device::net_region_bytes_min(shape);
  if (options.serve.dma == pci::DmaPolicy::kOpen || options.serve.region >= needed) return {};
  return failed(
      fmt::format("--region {}", format_size(options.serve.region)),
      fmt::format("the rings and frames of {} pairs of queues of {} entries don't fit", shape.pairs,
                  shape.queue_size),
      fmt::format("give --region {} or more, or fewer or smaller queues", format_size(needed)));
}

Outcome check_channels(const ServeNetOptions& options, const backend::NetBackend& backend) {
  if (options.pairs <= backend.channels_max()) return {};
  return failed(
      fmt::format("--queues {}", options.pairs),
      fmt::format("{} has room for {}", backend.describe(), backend.channels_max()),
      fmt::format("give --queues {}, or use a tap with several queues", backend.channels_max()));
}

device::NetShape shape_of(const ServeNetOptions& options, const backend::NetBackend& backend) {
  const std::string place = options.serve.socket.empty()
                                ? fmt::format("fd {}", options.serve.socket_fd)
                                : options.serve.socket;
  return {.pairs = options.pairs,
          .queue_size = options.queue_size,
          .mac = options.mac.value_or(mac_for(place)),
          .mtu = options.mtu != 0 ? options.mtu : backend.mtu(),
          .speed_mbits = options.speed_mbits};
}

void add_net_counters(nlohmann::ordered_json& json, const device::NetDevice& card) {
  const device::NetCounts counts = card.counts();
  const backend::NetBackendCounts backend = card.backend().counts();
  json.update({{"received",
                {{"frames", counts.received},
                 {"bytes", counts.received_bytes},
                 {"filtered", counts.filtered},
                 {"unfit", counts.unfit},
                 {"malformed", backend.malformed}}},
               {"sent",
                {{"frames", counts.sent},
                 {"bytes", counts.sent_bytes},
                 {"dropped", counts.unsent + backend.unsent}}},
               {"refused", counts.refused},
               {"waits", counts.waits},
               {"commands", counts.commands},
               {"disconnects", backend.disconnects}});
}

std::expected<MadeDevice, Failure> make_card(const ServeNetOptions& options,
                                             const Restart& restart) {
  if (auto good = cannot_go_on("net", restart); !good) return std::unexpected(good.error());
  auto backend = backend::open_net_backend(options.backend, {.channels = options.pairs});
  if (!backend) {
    return failed(backend.error().what, backend.error().why, backend.error().advice);
  }
  const device::NetShape shape = shape_of(options, **backend);
  if (auto good = check_channels(options, **backend); !good) return std::unexpected(good.error());
  if (auto good = check_region(options, shape); !good) return std::unexpected(good.error());
  std::string text = fmt::format("{}, {}", (*backend)->describe(), format_mac(shape.mac));
  auto card = device::NetDevice::create(
      {.backend = std::move(*backend),
       .shape = shape,
       .ring_features = options.serve.ring_features & ring::Features::kMask});
  if (!card) return failed("serve net", describe(card.error()), "see airlock serve net --help");
  const auto& made = **card;
  return MadeDevice{.type = std::move(*card),
                    .text = std::move(text),
                    .add_counters = [&made](auto& json) { add_net_counters(json, made); }};
}

}  // namespace

Outcome serve_net(const ServeNetOptions& options) {
  if (auto good = check(options); !good) return good;
  return serve_device("net", options.serve,
                      [&](const Restart& restart) { return make_card(options, restart); });
}

}  // namespace airlock::cli
