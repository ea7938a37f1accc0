// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "cli/outcome.h"
#include "cli/serve_options.h"
#include "device/gateway/gateway_shape.h"

namespace airlock::cli {

struct ServeVhostUserOptions {
  ServeOptions serve;
  std::string device;          // a name or number: see device::find_device_kind()
  std::string backend_socket;  // path
  std::uint16_t queues = 1;
  std::uint16_t queue_size = 256;
  std::string tag;  // of fs
  std::string mac;  // of net; empty: the driver chooses
  std::uint16_t mtu = 0;
  std::uint64_t cid = 0;          // of vsock
  bool relay_interrupts = false;  // through this process
  device::Tracking tracking = device::Tracking::kAuto;
};

/// `airlock serve vhost-user`: serves what a vhost-user backend is, over our own buffer, on one
/// socket until SIGTERM or SIGINT.
Outcome serve_vhost_user(const ServeVhostUserOptions& options);

}  // namespace airlock::cli
