// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "cli/outcome.h"
#include "cli/restart.h"
#include "cli/serve_options.h"
#include "device/client_model.h"
#include "device/device_type.h"

namespace asio {
class io_context;  // NOLINT(readability-identifier-naming): Asio names it
}

namespace airlock::cli {

/// A device that is ready to be shown to a VM.
struct MadeDevice {
  std::unique_ptr<device::DeviceType> type;
  // Or, without a type, what runs its queues. Initialized for GCC, where it is left out.
  // NOLINTNEXTLINE(readability-redundant-member-init)
  device::MakeClientModel make_model{};
  /// Of the transport's features, those that it can be offered with.
  std::uint64_t transport_features = pci::kTransportFeatures;
  std::string text;  // what is behind it, for the log: "file:disk.img, 1G"
  /// Adds its own counters to those that every device has, for --stats. Control thread.
  std::function<void(nlohmann::ordered_json&)> add_counters;
  /// Has what it holds back tried again, at SIGUSR2; empty if it never does. Control thread.
  // NOLINTNEXTLINE(readability-redundant-member-init): GCC wants it, to be left out where not used
  std::function<void()> retry{};
};

/// Opens what the device needs, with all the rights that this process has: it is called before the
/// process locks itself in, and before any byte of a peer was read. A kind of device that can't go
/// on where another process ended refuses with cannot_go_on().
using MakeDevice = std::function<std::expected<MadeDevice, Failure>(const Restart&)>;

/// The same for one that needs the event loop.
using MakeDeviceInLoop =
    std::function<std::expected<MadeDevice, Failure>(asio::io_context&, const Restart&)>;

/// Serves one device on one socket until SIGTERM or SIGINT, or hands it to the DeviceCollector
/// there is. `kind` names it, for the log ("blk"). What `make` refers to outlives the device.
Outcome serve_device(std::string_view kind, const ServeOptions& options, const MakeDevice& make);
Outcome serve_device_in_loop(std::string_view kind, const ServeOptions& options,
                             const MakeDeviceInLoop& make);

/// Refuses to take the place of another process, where that is what was asked for.
Outcome cannot_go_on(std::string_view kind, const Restart& restart);

}  // namespace airlock::cli
