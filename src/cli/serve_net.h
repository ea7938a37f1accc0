// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cli/outcome.h"
#include "cli/serve_options.h"
#include "device/net/net_config.h"

namespace airlock::cli {

struct ServeNetOptions {
  ServeOptions serve;
  std::string backend;                    // see backend::open_net_backend()
  std::optional<device::MacAddress> mac;  // else one that follows from where the device is found
  std::uint16_t mtu = 0;                  // bytes; 0: what the backend says
  std::uint16_t pairs = 1;                // of queues
  std::uint16_t queue_size = 256;
  std::uint32_t speed_mbits = 0;  // told to the guest; 0: not
};

/// `airlock serve net`: serves one network card on one socket until SIGTERM or SIGINT.
Outcome serve_net(const ServeNetOptions& options);

}  // namespace airlock::cli
