// SPDX-License-Identifier: Apache-2.0
#include "cli/serve_device.h"

#include <csignal>
#include <utility>

#include "cli/device_server.h"

namespace airlock::cli {

Outcome cannot_go_on(std::string_view kind, const Restart& restart) {
  if (!restart.goes_on()) return {};
  return failed(fmt::format("serve {}", kind),
                "what it knew is gone with the process before this one",
                "only blk with file:PATH outlives its process");
}

Outcome serve_device(std::string_view kind, const ServeOptions& options, const MakeDevice& make) {
  return serve_device_in_loop(
      kind, options,
      [&make](asio::io_context& /*context*/, const Restart& restart) { return make(restart); });
}

Outcome serve_device_in_loop(std::string_view kind, const ServeOptions& options,
                             const MakeDeviceInLoop& make) {
  const auto collected = DeviceCollector::collect(kind, options, make);
  if (!collected) return std::unexpected(collected.error());
  if (*collected) return {};
  static_cast<void>(std::signal(SIGPIPE, SIG_IGN));
  auto opened = DeviceServer::open(kind, options, make, true);
  if (!opened) return std::unexpected(opened.error());
  lock_in(options.sandbox);
  (*opened)->announce();
  (*opened)->run();
  return {};
}

}  // namespace airlock::cli
