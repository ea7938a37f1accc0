// SPDX-License-Identifier: Apache-2.0
#include "cli/serve_console.h"

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "backend/open_port.h"
#include "base/size.h"
#include "cli/serve_device.h"
#include "cli/socket_keeper.h"
#include "device/console/console_device.h"

namespace airlock::cli {

namespace {

constexpr std::uint16_t kConsoleQueueSize = 64;

/// A port as the command line has it.
struct WantedPort {
  std::string name;
  std::string backend;
  SocketKeeper keeper;  // of the backend's file, if it has one
};
using WantedPorts = std::vector<WantedPort>;

std::expected<WantedPorts, Failure> wanted_ports(const ServeConsoleOptions& options) {
  if (options.backend.empty() == options.ports.empty()) {
    return usage("serve console", "it needs one of --backend and --port",
                 "give --backend pty, or --port NAME=BACKEND for each port");
  }
  WantedPorts wanted;
  if (!options.backend.empty()) {
    wanted.push_back({.name = "console", .backend = options.backend, .keeper = {}});
  }
  std::set<std::string> names;
  for (const std::string& text : options.ports) {
    const std::size_t equals = text.find('=');
    if (equals == 0 || equals == std::string::npos) {
      return usage(fmt::format("--port {}", text), "it is not NAME=BACKEND",
                   "try --port agent=socket:/run/agent.sock");
    }
    wanted.push_back(
        {.name = text.substr(0, equals), .backend = text.substr(equals + 1), .keeper = {}});
  }
  for (const WantedPort& port : wanted) {
    if (!names.insert(port.name).second) {
      return usage(fmt::format("--port {}=", port.name), "two ports can't have one name",
                   "choose another name");
    }
    if (port.name.size() > device::ConsoleControl::kNameBytesMost) {
      return usage(fmt::format("--port {}=", port.name), "the name is too long",
                   fmt::format("use {} bytes at most", device::ConsoleControl::kNameBytesMost));
    }
  }
  if (std::ranges::count(wanted, "stdio", &WantedPort::backend) > 1) {
    return usage("serve console", "there is one stdio", "use pty or socket:PATH for other ports");
  }
  if (wanted.size() > device::ConsoleDevice::kPortsMost) {
    return usage("serve console", fmt::format("{} ports are too many", wanted.size()),
                 fmt::format("give {} at most", device::ConsoleDevice::kPortsMost));
  }
  return wanted;
}

/// The file that a backend makes, if it does.
std::string file_of(const std::string& backend) {
  for (const std::string_view kind : {"socket:", "pty:"}) {
    if (backend.starts_with(kind)) return backend.substr(kind.size());
  }
  return {};
}

Outcome start_keepers(WantedPorts& wanted) {
  for (WantedPort& port : wanted) {
    const std::string file = file_of(port.backend);
    if (file.empty()) continue;
    auto keeper = SocketKeeper::start(file);
    if (!keeper) return failed("start a process", describe(keeper.error()), "look at the limits");
    port.keeper = std::move(*keeper);
  }
  return {};
}

Outcome check_region(const ServeConsoleOptions& options, std::size_t ports) {
  const std::uint64_t needed = device::console_region_bytes_min(ports, kConsoleQueueSize);
  if (options.serve.dma == pci::DmaPolicy::kOpen || options.serve.region >= needed) return {};
  return failed(fmt::format("--region {}", format_size(options.serve.region)),
                fmt::format("the queues of {} ports and their buffers don't fit", ports),
                fmt::format("give --region {} or more", format_size(needed)));
}

void add_port_counters(nlohmann::ordered_json& json, const device::ConsoleDevice& console) {
  auto ports = nlohmann::ordered_json::array();
  for (const auto& port : console.ports()) {
    const device::ConsolePortCounts counts = port->counts();
    ports.push_back({{"name", port->name()},
                     {"bytes_to_guest", counts.to_guest},
                     {"bytes_from_guest", counts.from_guest},
                     {"bytes_dropped", counts.dropped},
                     {"connections", counts.connections}});
  }
  json.update({{"ports", ports}, {"ignored_messages", console.ignored_messages()}});
}

std::expected<MadeDevice, Failure> make_console(const ServeConsoleOptions& options,
                                                const WantedPorts& wanted, const Restart& restart) {
  if (auto good = cannot_go_on("console", restart); !good) return std::unexpected(good.error());
  if (auto good = check_region(options, wanted.size()); !good) return std::unexpected(good.error());
  std::vector<device::ConsoleDevice::Port> ports;
  std::string text;
  for (const WantedPort& port : wanted) {
    auto backend = backend::open_port(port.backend);
    if (!backend) {
      const backend::OpenError& why = backend.error();
      return failed(why.what, why.why, why.advice);
    }
    if (const auto file = (*backend)->file(); !file.path.empty()) {
      if (const auto kept = port.keeper.keep(file); !kept) {
        return failed("serve console", describe(kept.error()), "start it again");
      }
    }
    text += fmt::format("{}{} = {}", text.empty() ? "" : ", ", port.name, (*backend)->describe());
    ports.push_back({.name = port.name, .backend = std::move(*backend)});
  }
  auto console = device::ConsoleDevice::create(
      {.ports = std::move(ports),
       .queue_size = kConsoleQueueSize,
       .ring_features = options.serve.ring_features & ring::Features::kMask});
  if (!console) {
    return failed("serve console", describe(console.error()), "look at the limit of open files");
  }
  const auto& made = **console;
  return MadeDevice{.type = std::move(*console),
                    .text = std::move(text),
                    .add_counters = [&made](auto& json) { add_port_counters(json, made); }};
}

}  // namespace

Outcome serve_console(const ServeConsoleOptions& options) {
  auto wanted = wanted_ports(options);
  if (!wanted) return std::unexpected(wanted.error());
  if (auto started = start_keepers(*wanted); !started) return started;
  return serve_device("console", options.serve, [&](const Restart& restart) {
    return make_console(options, *wanted, restart);
  });
}

}  // namespace airlock::cli
