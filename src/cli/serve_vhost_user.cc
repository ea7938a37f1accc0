// SPDX-License-Identifier: Apache-2.0
#include "cli/serve_vhost_user.h"

#include <bit>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "cli/mac_address.h"
#include "cli/serve_device.h"
#include "device/gateway/gateway.h"

namespace airlock::cli {

namespace {

constexpr std::chrono::milliseconds kFirstAnswers{5000};

std::expected<device::GatewayShape, Failure> shape_of(const ServeVhostUserOptions& options) {
  const auto kind = device::find_device_kind(options.device);
  if (!kind) {
    return usage(fmt::format("--device {}", options.device), "no such type of device",
                 fmt::format("give the number of a virtio device, or one of {}",
                             device::device_kind_names()));
  }
  if (!std::has_single_bit(options.queue_size)) {
    return usage(fmt::format("--queue-size {}", options.queue_size),
                 "a split ring has a power of two of entries", "try --queue-size 256");
  }
  if (options.serve.dma != pci::DmaPolicy::kRequire) {
    return usage("--dma", "the backend is given the region and never guest memory",
                 "leave it at --dma require");
  }
  device::GatewayShape shape{.kind = *kind,
                             .queues = options.queues,
                             .queue_size = options.queue_size,
                             .ring_features = options.serve.ring_features,
                             .tag = options.tag,
                             .mac = std::nullopt,
                             .mtu = options.mtu,
                             .cid = options.cid,
                             .tracking = options.tracking};
  if (!options.mac.empty()) {
    shape.mac = parse_mac(options.mac);
    if (!shape.mac) {
      return usage(fmt::format("--mac {}", options.mac), "it is no address of a network card",
                   "give one like 52:54:00:12:34:56");
    }
  }
  if (kind->owner == device::ConfigOwner::kFs && (shape.tag.empty() || shape.tag.size() > 36)) {
    return usage("serve vhost-user --device fs", "a driver mounts it by a name of 1 to 36 bytes",
                 "give --tag NAME");
  }
  if (kind->owner == device::ConfigOwner::kVsock && shape.cid < 3) {
    return usage("serve vhost-user --device vsock", "the guest needs a number of 3 or more",
                 "give --cid N");
  }
  return shape;
}

std::unexpected<Failure> cannot_connect(const ServeVhostUserOptions& options, const Error& error) {
  const std::string what = fmt::format("--backend-socket {}", options.backend_socket);
  if (error.code == Errc::kTooSmall) {
    return failed(what, fmt::format("the backend has fewer than {} queues", error.address),
                  "give fewer --queues, or the backend more");
  }
  return failed(what, describe(error),
                "start the backend first; it is waited for once it was there");
}

void add_gateway_counters(nlohmann::ordered_json& json, const device::Gateway& gateway) {
  json.update({{"backend",
                {{"connected", gateway.connected()},
                 {"connections", gateway.stats().connections},
                 {"losses", gateway.stats().losses}}}});
}

}  // namespace

Outcome serve_vhost_user(const ServeVhostUserOptions& options) {
  auto shape = shape_of(options);
  if (!shape) return std::unexpected(shape.error());
  // Before anything else is open, as it is a fork of what is there.
  auto connector = vhost_user::Connector::start(options.backend_socket);
  if (!connector) return cannot_connect(options, connector.error());

  const auto make = [&](asio::io_context& context,
                        const Restart& restart) -> std::expected<MadeDevice, Failure> {
    if (auto good = cannot_go_on("vhost-user", restart); !good) {
      return std::unexpected(good.error());
    }
    auto gateway = std::make_shared<device::Gateway>(
        context, std::move(*connector),
        device::Gateway::Options{.shape = *shape,
                                 .relay_interrupts = options.relay_interrupts,
                                 .poll = options.serve.poll()});
    if (auto there = gateway->connect(kFirstAnswers); !there) {
      return cannot_connect(options, there.error());
    }
    return MadeDevice{
        .type = nullptr,
        .make_model = [gateway](const auto& memory) { return gateway->make_model(memory); },
        .transport_features = gateway->transport_features(),
        .text = fmt::format("{} of {}", options.device, options.backend_socket),
        .add_counters = [gateway](auto& json) { add_gateway_counters(json, *gateway); }};
  };
  return serve_device_in_loop("vhost-user", options.serve, make);
}

}  // namespace airlock::cli
